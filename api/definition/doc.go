// Package definition reads which secrets a Marathon app, a Marathon pod or a
// Metronome job names, and where its tasks want them.
//
// It is pure, and keeps nothing else of a definition. It never copies the plain
// values of environment variables, for these may be secrets that are not in the
// store. Its errors name members by their position and repeat no content.
//
// A document may come from an attacker. The caller bounds its size; this
// package bounds its tokens, its depth and the length of its names.
package definition
