// Package tokens makes the tokens of accounts that have signed in, and verifies
// them, together with the tokens of other issuers.
//
// A token is valid while its account has the generation that the token names:
// deletion, a new password and a revocation change it on every server, and no clocks
// are compared. The keys that sign are records of the identities, so all servers share
// them. They are in memory as parsed keys only while the store is unsealed, and no
// error or log line holds any part of a key or a token.
package tokens
