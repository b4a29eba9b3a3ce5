//go:build !long

package api_test

// watchers is how many requests wait for one change in
// TestOneChangeWakesAllWatchers.
const watchers = 200
