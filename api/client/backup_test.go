package client

import (
	"net/http"
	"strings"
	"testing"

	"secretstore/api/wire"
)

func TestTheFailureOfABackupIsItsLastLine(t *testing.T) {
	const failure = wire.BackupFailed + `{"title":"503 Service Unavailable","description":"too many\u001b[31m writes"}` + "\n"
	for _, size := range []int{1, 7, maxFailure, 1 << 20} {
		var end tail
		for content := strings.Repeat(failure+"x", 100) + failure; content != ""; {
			part := content[:min(size, len(content))]
			if n, err := end.Write([]byte(part)); n != len(part) || err != nil {
				t.Fatal(n, err)
			}
			content = content[len(part):]
		}
		if len(end.kept) > maxFailure {
			t.Errorf("%d bytes are kept", len(end.kept))
		}
		if err := backupFailure(end.kept, http.Header{}); err == nil || err.Error() != "503 Service Unavailable: too many[31m writes" {
			t.Errorf("in pieces of %d: %v", size, err)
		}
	}
	for _, end := range []string{
		"", "x", failure + "x", failure[1:], strings.TrimSpace(failure), wire.BackupFailed, wire.BackupFailed + "{}\n",
		wire.BackupFailed + `{"title":"no number"}` + "\n", wire.BackupFailed + "no JSON\n",
	} {
		if err := backupFailure([]byte(end), http.Header{}); err != nil {
			t.Errorf("%q: %v", end, err)
		}
	}
}
