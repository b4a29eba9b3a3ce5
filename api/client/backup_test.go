package client

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"
	"unicode"

	"github.com/go-json-experiment/json"

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

// FuzzBackupFailure: the end of a backup is an error only if its last line says so, and
// then one line of text. What a server writes is found, whatever is before it.
func FuzzBackupFailure(f *testing.F) {
	f.Add([]byte("secretstore backup 1\n"), "too many writes", uint16(503))
	f.Add([]byte(wire.BackupFailed+`{"title":"500 x"}`+"\n"), "", uint16(500))
	f.Add([]byte(wire.BackupFailed+"{}"), wire.BackupFailed, uint16(0))
	f.Add([]byte(wire.BackupFailed+`{"title":"\u001b[2J","description":7}`+"\n"), "\n\x1b\u009b", uint16(599))
	f.Fuzz(func(t *testing.T, end []byte, description string, status uint16) {
		check := func(end []byte) *Error {
			err := backupFailure(end, http.Header{})
			if err == nil {
				return nil
			}
			var failure *Error
			if !errors.As(err, &failure) || !bytes.Contains(end, []byte(wire.BackupFailed)) || !bytes.HasSuffix(end, []byte("\n")) {
				t.Fatalf("%q: %v", end, err)
			}
			if strings.ContainsFunc(failure.Error(), unicode.IsControl) {
				t.Errorf("%q is not text", failure.Error())
			}
			return failure
		}
		check(end)
		doc, err := json.Marshal(wire.Error{Title: http.StatusText(int(status)), Description: description})
		if err != nil {
			return // not UTF-8
		}
		check(append(bytes.Clone(end), wire.BackupFailed+string(doc)+"\n"...))
		doc, err = json.Marshal(wire.Error{Title: "503 Service Unavailable", Description: description})
		if err != nil {
			t.Fatal(err)
		}
		if got := check(append(bytes.Clone(end), wire.BackupFailed+string(doc)+"\n"...)); got == nil || got.Status != 503 || got.Description != printable(description) {
			t.Errorf("%q: %v", description, got)
		}
	})
}
