package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"secretstore/api/wire"
)

// BackupOptions says what a backup is like.
type BackupOptions struct {
	// BootstrapKey adds the private key that unseals the store, if the storage keeps
	// one.
	BootstrapKey bool
	// Pause lets all servers hold back writes for at most half a second, if too much
	// is written to read one state otherwise.
	Pause bool
}

// Backup writes a backup of the store to w, as the server sends it. After an error,
// what was written is not a complete backup. ErrDenied.
func (c *Client) Backup(ctx context.Context, w io.Writer, o BackupOptions) error {
	k := call{method: http.MethodGet, path: c.ofStore("/backup"), header: http.Header{"Accept": {wire.TypeBackup}}, query: url.Values{}}
	if o.BootstrapKey {
		k.query.Set("bootstrap_key", "true")
	}
	if o.Pause {
		k.query.Set("pause", "true")
	}
	res, err := atServers(ctx, c, k, c.send)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var end tail
	_, err = io.Copy(io.MultiWriter(w, &end), res.Body)
	if failure := backupFailure(end.kept, res.Header); failure != nil {
		return failure
	}
	if err != nil {
		return fmt.Errorf("receive the backup: %w", err)
	}
	return nil
}

// tail keeps the last bytes that are written to it, at least maxFailure of them.
type tail struct{ kept []byte }

// maxFailure is longer than what follows wire.BackupFailed, in bytes.
const maxFailure = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p[max(0, len(p)-maxFailure):]...)
	t.kept = t.kept[max(0, len(t.kept)-maxFailure):]
	return len(p), nil
}

// backupFailure returns the error with which the server has ended a backup, or nil.
// The last bytes of a backup are a MAC: they look like an error with a probability
// that does not matter.
func backupFailure(end []byte, header http.Header) error {
	at := bytes.LastIndex(end, []byte(wire.BackupFailed))
	if at < 0 {
		return nil
	}
	var doc wire.Error
	text, whole := bytes.CutSuffix(end[at+len(wire.BackupFailed):], []byte("\n"))
	if !whole || json.Unmarshal(text, &doc) != nil {
		return nil
	}
	e := errorOf(doc)
	if e == nil {
		return nil
	}
	e.RequestID = header.Get(wire.RequestIDHeader)
	return e
}
