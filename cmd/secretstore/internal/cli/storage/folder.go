package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/offline"
	"secretstore/internal/atomicfile"
	"secretstore/seal"
)

// The name of a backup in a folder: secretstore-20261129T053000Z.backup.
const (
	namePrefix = "secretstore-"
	nameTime   = "20060102T150405Z"
	nameSuffix = ".backup"
)

// BackupName returns the name of a backup in a folder. Names sort by time.
func BackupName(now time.Time) string { return namePrefix + now.UTC().Format(nameTime) + nameSuffix }

// isBackupName reports whether BackupName makes such names.
func isBackupName(name string) bool {
	middle, ok := strings.CutPrefix(name, namePrefix)
	middle, is := strings.CutSuffix(middle, nameSuffix)
	_, err := time.Parse(nameTime, middle)
	return ok && is && err == nil
}

// RemoveInterrupted removes from a folder what backups have left that were killed
// more than a day ago.
func RemoveInterrupted(dir string) error {
	folder, err := atomicfile.Rules{}.OpenFolder(dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.RemoveLeftovers(time.Now().Add(-24 * time.Hour))
}

// RemoveOldBackups removes backups of a store from a folder: made, a name in it, and
// the newest others, keep in all, stay. So do those of other stores, and files that
// are not complete backups.
//
// The names are by the clocks of clients, so made may not be the newest.
func RemoveOldBackups(dir, made, store string, keep int) error {
	folder, err := atomicfile.Rules{}.OpenFolder(dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	names, err := folder.Names()
	if err != nil {
		return err
	}
	slices.Sort(names)
	keep-- // made
	var failed []error
	for _, name := range slices.Backward(names) {
		if name == made || !isBackupName(name) {
			continue
		}
		switch of, err := storeOf(folder, name); {
		case err != nil || of != store:
		case keep > 0:
			keep--
		default:
			failed = append(failed, folder.Remove(name))
		}
	}
	return errors.Join(failed...)
}

// storeOf returns the store of a backup.
func storeOf(folder *atomicfile.Folder, name string) (string, error) {
	f, err := folder.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := offline.ReadBackup(f)
	if err != nil {
		return "", err
	}
	return b.Store, nil
}

// newestBackup calls do with the newest backup in a folder that is complete, by its
// name, and says which one it is, and of which store: a folder may have those of several.
func newestBackup(p *base.Process, dir string, do func(file string, b *seal.Backup) error) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return base.Usagef("%v", err)
	}
	for _, f := range slices.Backward(files) {
		if !isBackupName(f.Name()) || !f.Type().IsRegular() {
			continue
		}
		name := filepath.Join(dir, f.Name())
		var other error // of do
		err := withBackupFile(name, func(b *seal.Backup) error {
			fmt.Fprintf(p.Stderr, "%s is the newest complete backup in %s, of the store %s.\n", name, dir, b.Store)
			other = do(name, b)
			return nil
		})
		if err == nil {
			return other
		}
		fmt.Fprintf(p.Stderr, "Skipped: %v\n", err)
	}
	return fmt.Errorf("%s has no complete backup; \"backup -o DIR\" names them %sTIME%s", dir, namePrefix, nameSuffix)
}
