// Package server puts the parts of the Secret Store together and runs them. It is the
// only package that knows all of them. It owns the goroutines and files that it
// starts and opens, and contains no rules about secrets.
//
// It has more than 2,000 lines because there are many parts: each of its files is
// about one of them.
package server
