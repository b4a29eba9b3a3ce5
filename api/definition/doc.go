// Package definition reads which secrets a Marathon app, a Marathon pod or a
// Metronome job names, and where its tasks want them.
//
// It is pure, and holds nothing else of a definition: plain values of
// environment variables, which can be secrets that somebody did not care to
// keep in the store, are never copied, and its errors name members by their
// position and repeat no content.
//
// A document is an attacker's: its size is the caller's business, and what it
// may cost beyond that is bounded here by the number of its tokens, its depth
// and the length of the names that stand in it.
package definition
