//go:build long

package api_test

import "testing"

// TestOneChangeWakesThousandsOfWatchers is TestOneChangeWakesAllWatchers with
// ten times as many.
func TestOneChangeWakesThousandsOfWatchers(t *testing.T) { testOneChangeWakes(t, 2000) }
