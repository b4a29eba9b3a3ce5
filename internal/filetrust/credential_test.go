package filetrust

import "testing"

func TestCredentialsOfSystemdAreKnownByTheirFolder(t *testing.T) {
	t.Setenv("CREDENTIALS_DIRECTORY", "/run/user/1000/credentials/s.service")
	for path, want := range map[string]bool{
		"/run/credentials/secretstore.service/secret_key": true,
		"/run/user/1000/credentials/s.service/key":        true,
		"/run/user/1000/credentials/s.service2/key":       false,
		"/run/credentials/../key":                         false,
		"/run/credentials":                                false,
		"/etc/secretstore/key":                            false,
	} {
		if got := Credential(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	if Credential("/key") {
		t.Error("without credentials, a file in the root folder counts as one")
	}
}
