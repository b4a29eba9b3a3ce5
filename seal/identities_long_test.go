//go:build long

package seal

import "testing"

// TestNobodyGainsARightByTenThousandAttacksOnIdentities is the same as
// TestNobodyGainsARightByMovingOrReplayingIdentities, for longer.
func TestNobodyGainsARightByTenThousandAttacksOnIdentities(t *testing.T) { attackIdentities(t, 10_000) }
