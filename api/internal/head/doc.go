// Package head reads the head of a request: the query, the token, the
// conditions, the content types, the named service, and the client's address.
//
// It decides nothing. Its errors are answers of package problem, mostly 400; it
// refuses what is malformed and repairs nothing, for what it drops could be
// what protects a secret.
package head
