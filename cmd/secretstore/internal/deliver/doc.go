// Package deliver puts secrets where a program finds them: into files that are replaced
// as a whole and by default are only in memory, and into a cache that survives a
// restart of the program, but not a reboot or its time limit.
//
// It leaves no half-written or temporary file behind, follows no symbolic link, and puts
// no value into an error.
package deliver
