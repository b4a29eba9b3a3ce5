// Package server puts the parts of the Secret Store together and runs them: it
// is the only place that knows all of them. It owns every goroutine and file
// that it starts or opens, and no rule about secrets.
package server
