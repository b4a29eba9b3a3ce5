// Package tokens makes the tokens of accounts that have signed in, and verifies
// them, together with the tokens of other issuers.
//
// A token is good while its account has the generation in it: deletion, a new
// password and a revocation change that, on every server, and no clock is compared
// for it. The keys that sign are records of the identities, so all servers share
// them. They are in memory as parsed keys only while the store is unsealed, and no
// error or log line holds any part of a key or a token.
package tokens
