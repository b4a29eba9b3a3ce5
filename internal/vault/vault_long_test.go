//go:build long

package vault

import "testing"

// TestDamagedAndSwappedRecordsOfVault114AreNamedAndSkipped: those of OpenBao,
// among the other tests, are much the same.
func TestDamagedAndSwappedRecordsOfVault114AreNamedAndSkipped(t *testing.T) {
	damageEach(t, "vault-1.14")
}
