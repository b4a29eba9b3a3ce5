package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/internal/dcosbackup"
)

const (
	// maxBackups bounds the files of a backup of dcos-migrate, and maxBackup the size
	// of one.
	maxBackups = 1_000_000
	maxBackup  = 64 << 20
)

func (f *Flags) openTar(p *base.Process) (origin, error) {
	key := []byte(dcosbackup.DefaultCipherKey)
	weak := ", and everybody can decrypt it: it is encrypted with the default key of dcos-secrets-backup"
	if f.cipherKey != "" {
		text, err := base.ReadKey(p, f.cipherKey, "cipher key")
		if err != nil {
			return nil, err
		}
		if text != dcosbackup.DefaultCipherKey {
			weak = ""
		}
		key = []byte(text)
	}
	defer clear(key)
	data, err := base.ReadInput(p, f.tar)
	if err != nil {
		return nil, err
	}
	c, err := dcosbackup.ParseTar(data, key)
	switch {
	case errors.Is(err, dcosbackup.ErrCipherKey) && f.cipherKey == "":
		return nil, base.Usagef("%s: %v; give the key with --cipher-key-file", f.tar, err)
	case err != nil:
		return nil, base.Usagef("%s: %v", f.tar, err)
	}
	fmt.Fprintf(p.Stderr, "secretstore: warning: %s is not authenticated: anyone who could write to it could change the secrets in it%s\n", f.tar, weak)
	return newHeld("dcos-secrets-backup", c), nil
}

func (f *Flags) openMigrate(p *base.Process) (origin, error) {
	info, err := os.Stat(f.migrate)
	if err != nil && f.migrate != "-" {
		return nil, base.Usagef("%v", err)
	}
	if err == nil && info.IsDir() {
		c, err := readMigrateFolder(f.migrate)
		if err != nil {
			return nil, base.Usagef("%s: %v", f.migrate, err)
		}
		return newHeld("dcos-migrate", c), nil
	}
	data, err := base.ReadInput(p, f.migrate)
	if err != nil {
		return nil, err
	}
	defer clear(data)
	c, err := dcosbackup.ParseScriptFile(data)
	if err != nil {
		return nil, base.Usagef("%s: %v", f.migrate, err)
	}
	return newHeld("dcos-migrate", c), nil
}

// readMigrateFolder reads the files NAME.Backup.json of secrets in a folder and those
// below it, without following links out of it. Those of other things are in other
// folders than secret.
func readMigrateFolder(name string) (*dcosbackup.Content, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	defer root.Close() // only read
	c := &dcosbackup.Content{}
	files := 0
	err = fs.WalkDir(root.FS(), ".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !d.Type().IsRegular() || !strings.HasSuffix(file, ".Backup.json"):
			return nil
		case strings.Contains(file, "/") && !strings.HasPrefix(file, "secret/") && !strings.Contains(file, "/secret/"):
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if files++; files > maxBackups || info.Size() > maxBackup {
			return fmt.Errorf("there are more than %d files, or %q is larger than %d MiB", maxBackups, file, maxBackup>>20)
		}
		data, err := root.ReadFile(file)
		if err != nil {
			return err
		}
		defer clear(data)
		c.ParseMigrateFile(file, data)
		return nil
	})
	if err == nil && files == 0 {
		err = errors.New("there is no file secret/NAME.Backup.json of dcos-migrate")
	}
	if err != nil {
		c.Clear()
		return nil, err
	}
	return c, nil
}
