// Package token turns the JWT of a request into an [acl.Principal], and makes tokens for the command line.
//
// It holds verification keys and the hashes of tokens that verified, never a token itself, and no error of this package repeats any part
// of one. A key is only ever used with its own algorithm: the header of a token chooses among the keys, never how a key is used.
package token
