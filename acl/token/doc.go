// Package token turns the JWT of a request into an [acl.Principal], and makes
// tokens for the command line.
//
// It holds verification keys and the hashes of verified tokens, never a token
// itself. No error of this package repeats any part of a token. A key is only
// used with its own algorithm: the header of a token chooses among the keys,
// never how a key is used.
package token
