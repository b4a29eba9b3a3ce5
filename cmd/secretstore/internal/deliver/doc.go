// Package deliver puts secrets where a program finds them: into files that are
// replaced as a whole and, unless the caller insists, live in memory only, and
// into a cache that outlives a restart but neither the boot nor its time.
//
// It never leaves a half-written or temporary file behind, follows no symbolic
// link, and puts no value into an error.
package deliver
