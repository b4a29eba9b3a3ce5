// Package jsondoc reads and writes the JSON documents of the API.
//
// It reads strictly: no duplicate names, no names that differ only in case, no
// invalid UTF-8, no lone surrogates, one document, bounded in members and
// depth. It skips members that it does not know, for clients send their own.
// Its errors are constants: those of a decoder may quote what was sent.
//
// It writes by appending, so that a value is copied once.
package jsondoc
