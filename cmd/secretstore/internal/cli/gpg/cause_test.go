package gpg

import (
	"testing"
)

func TestCausesAreToldApart(t *testing.T) {
	const failed = "[GNUPG:] ENC_TO 40A44476BB6F63E8 18 0\n[GNUPG:] ERROR pkdecrypt_failed "
	for _, c := range []struct {
		name, status, messages string
		want                   error
	}{
		{"no key", "[GNUPG:] NO_SECKEY 40A44476BB6F63E8\n[GNUPG:] DECRYPTION_FAILED\n", "", errNotMine},
		{"no agent", "[GNUPG:] NO_SECKEY 40A44476BB6F63E8\n", "gpg: can't connect to the agent: Configuration error\n", errAgent},
		{"no pinentry", failed + "67108949\n", "", errNoPinentry},
		{"no terminal", failed + "83918950\n", "", errNoTerminal},
		{"pinentry fails otherwise", failed + "83886086\n", "", errNoTerminal},
		{"wrong passphrase", failed + "67108875\n", "", errPassphrase},
		{"canceled", failed + "83886179\n", "", errCanceled},
		{"no card", failed + "100663408\n", "", errNoCard},
		{"blocked card", failed + "100663426\n", "", errCardBlocked},
		{"no daemon for cards", failed + "67108983\n", "", errNoReader},
		{"another key is missing, but this is why", "[GNUPG:] NO_SECKEY 1\n" + failed + "67108875\n", "", errPassphrase},
		{"unknown", failed + "1\n[GNUPG:] DECRYPTION_FAILED\n", "", nil},
		{"nothing", "", "", nil},
		{"not a number", failed + "x\n", "", nil},
		{"not a status line", "NO_SECKEY 1\n", "", nil},
	} {
		if got := causeOf(c.status, c.messages); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// FuzzCause: whatever gpg prints, there is an answer.
func FuzzCause(f *testing.F) {
	f.Add("[GNUPG:] ERROR pkdecrypt_failed 67108875\n", "gpg: decryption failed: No secret key\n")
	f.Add("[GNUPG:] NO_SECKEY 40A44476BB6F63E8\n", "gpg: can't connect to the agent: IPC connect call failed\n")
	f.Fuzz(func(t *testing.T, status, messages string) {
		first, second := causeOf(status, messages), causeOf(status, messages)
		if first != second {
			t.Errorf("%v, then %v", first, second)
		}
	})
}

func TestLanguageOfMessagesIsEnglish(t *testing.T) {
	got := environment([]string{"LC_ALL=de_DE.UTF-8", "LANGUAGE=de", "LC_MESSAGES=de_DE.UTF-8", "HOME=/x"})
	want := []string{"HOME=/x", "LC_CTYPE=de_DE.UTF-8", "LC_MESSAGES=C"}
	if len(got) != len(want) {
		t.Fatalf("%q, want %q", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
