//go:build gpg

package migrate

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"secretstore/internal/vault/vaulttest"
)

// TestLocalGPGOpensWrappedShares as Vault's init has returned them.
func TestLocalGPGOpensWrappedShares(t *testing.T) {
	home, err := os.MkdirTemp("", "gpg") // short: the agent's socket is in it
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GNUPGHOME", home)
	t.Cleanup(func() {
		if out, err := exec.Command("gpgconf", "--kill", "all").CombinedOutput(); err != nil {
			t.Errorf("%s, %v", out, err)
		}
		os.RemoveAll(home)
	})
	set := vaulttest.Load(t, "dcos-vault-0.5.3")
	wrapped := file(t, fmt.Sprintf(`{"keys":["%s"],"initialized":true}`, strings.Join(set.Wrapped, `","`)))
	p, _ := process()
	if _, err := fromDump(t, set, func(f *Flags) { f.keyFiles = []string{wrapped} }).Open(t.Context(), p, time.Minute); err == nil || !strings.Contains(err.Error(), "no private key for any") {
		t.Errorf("without the private key: %v", err)
	}
	key := file(t, string(vaulttest.PrivateKey(t)))
	if out, err := exec.Command("gpg", "--batch", "--import", key).CombinedOutput(); err != nil {
		t.Fatalf("%s, %v", out, err)
	}
	for _, name := range []string{"dcos-vault-0.5.3", "dcos-vault-0.8.3", "vault-1.14"} {
		set := vaulttest.Load(t, name)
		rename, to := renamesFor(t, set.Want(1))
		plan, _ := planOf(t, fromDump(t, set, func(f *Flags) {
			f.keyFiles, f.as, f.rename = []string{file(t, strings.Join(set.Wrapped, "\n"))}, asJSON, rename
		}))
		checkValues(t, set, plan, 1, to)
	}
	// One share in the clear, the others wrapped.
	f := fromDump(t, set, func(f *Flags) {
		f.keyFiles = []string{file(t, set.Shares[2]), file(t, strings.Join(set.Wrapped[:2], " "))}
	})
	o, err := f.Open(t.Context(), p, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	o.Close()
}
