package backups

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/storage"
	"secretstore/internal/atomicfile"
	"secretstore/seal"
)

// TestAFolderIsItsNewestCompleteBackup: what is newer but incomplete, or has another
// name, is not taken.
func TestAFolderIsItsNewestCompleteBackup(t *testing.T) {
	dir := t.TempDir()
	at := func(year int) string {
		return filepath.Join(dir, storage.BackupName(time.Date(year, 1, 2, 3, 4, 5, 0, time.UTC)))
	}
	put := func(name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	backup := func(secrets int) []byte {
		t.Helper()
		content, err := os.ReadFile(backupOfMany(t, secrets))
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	put(filepath.Join(dir, "notes"), nil)
	put(at(2003), []byte("cut"))
	if err := os.Mkdir(at(2004), 0o700); err != nil {
		t.Fatal(err)
	}
	bolt := "bolt:" + filepath.Join(t.TempDir(), "s.db")
	for _, args := range [][]string{{"verify", dir}, {"show", dir}, {"drill", dir}} {
		out, err := runCommand(backupCommand, args...)
		if err == nil || !strings.Contains(err.Error(), dir+" has no complete backup") || !strings.Contains(out, "Skipped: "+at(2003)) {
			t.Errorf("%v of a folder without a backup: %s, %v", args, out, err)
		}
	}
	if out, err := runCommand(restoreCommand, dir, "--storage", bolt); err == nil || !strings.Contains(err.Error(), "no complete backup") {
		t.Errorf("%s, %v", out, err)
	}

	put(at(2001), backup(1))
	put(at(2002), backup(2))
	put(filepath.Join(dir, "z.backup"), backup(1))
	for _, c := range []struct {
		command []string
		want    string
	}{
		{[]string{"verify", dir}, at(2002) + " is complete"},
		{[]string{"show", dir + "/"}, "f1/s1\tversion 2"},
		{[]string{"drill", dir}, "2 secret(s) were read"},
	} {
		out, err := runCommand(backupCommand, c.command...)
		if err != nil || !strings.Contains(out, c.want) || !strings.Contains(out, at(2002)+" is the newest complete backup in ") || !strings.Contains(out, ", of the store "+storeOf(t, at(2002))+".") {
			t.Errorf("%v: %s, %v", c.command, out, err)
		}
	}
	out, err := runCommand(restoreCommand, dir, "--storage", bolt)
	if err != nil || !strings.Contains(out, "has 2 secret(s)") {
		t.Errorf("%s, %v", out, err)
	}
	if out, err := runCommand(backupCommand, "verify", filepath.Join(dir, "none")); base.Report(io.Discard, &cobra.Command{}, err) != 2 {
		t.Errorf("%s, %v", out, err)
	}
}

// TestTheNextBackupRemovesWhatAKilledOneHasLeft in the folder, a day later.
func TestTheNextBackupRemovesWhatAKilledOneHasLeft(t *testing.T) {
	content, err := os.ReadFile(backupOfMany(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(content) }))
	defer srv.Close()
	dir := t.TempDir()
	left := func(age time.Duration) string {
		t.Helper()
		f, err := atomicfile.Create(filepath.Join(dir, "x"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(f.Discard)
		files, err := filepath.Glob(dir + "/.secretstore-*")
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		name := files[len(files)-1]
		if err := os.Chtimes(name, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
		return name
	}
	old := left(25 * time.Hour)
	if out, err := runCommand(backupCommand, "-o", dir, "--server", srv.URL); err != nil {
		t.Fatalf("%s, %v", out, err)
	}
	recent := left(23 * time.Hour)
	if out, err := runCommand(backupCommand, "-o", dir, "--server", srv.URL, "--keep", "1"); err != nil {
		t.Fatalf("%s, %v", out, err)
	}
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old one is there: %v", err)
	}
	if _, err := os.Stat(recent); err != nil {
		t.Error(err)
	}
}

// TestTheNewBackupStays, though another is newer by its name, as one that was made
// when the clock was wrong.
func TestTheNewBackupStays(t *testing.T) {
	content, err := os.ReadFile(backupOfMany(t, 1))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(content) }))
	defer srv.Close()
	for keep, wantOthers := range map[string][]int{"1": nil, "2": {2990}, "3": {2001, 2990}} {
		dir := t.TempDir()
		others := make(map[string]int) // the year
		for _, year := range []int{2000, 2001, 2990} {
			name := storage.BackupName(time.Date(year, 1, 2, 3, 4, 5, 0, time.UTC))
			others[name] = year
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if out, err := runCommand(backupCommand, "-o", dir, "--server", srv.URL, "--keep", keep); err != nil {
			t.Fatalf("%s, %v", out, err)
		}
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		made := 0
		var left []int
		for _, f := range files {
			if year, other := others[f.Name()]; other {
				left = append(left, year)
			} else {
				made++
			}
		}
		if made != 1 || !slices.Equal(left, wantOthers) {
			t.Errorf("--keep %s: the new one is there: %v; of the others, those of %v", keep, made == 1, left)
		}
	}
}

// storeOf returns the store of a backup.
func storeOf(t *testing.T, file string) (id string) {
	t.Helper()
	if err := storage.WithBackup(&base.Process{Stderr: io.Discard}, file, func(_ string, b *seal.Backup) error { id = b.Store; return nil }); err != nil {
		t.Fatal(err)
	}
	return id
}
