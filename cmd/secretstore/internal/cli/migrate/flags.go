package migrate

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/internal/vault"
)

// Flags say which other store to import from, and what its secrets become. The zero
// value names none.
type Flags struct {
	zk, zkAuth, znodes, vault, vaultToken, dcos, tar, cipherKey, migrate string

	keyFiles                []string
	gpg                     string
	as, valueKey, base64Key string
	mounts                  []string
	versions                int
	namespace, token, ca    string
	rename                  string

	testOnlyNow func() time.Time
}

// SourceFlags are the flags that name a source.
var SourceFlags = []string{"from-vault-zk", "from-vault-znodes", "from-vault", "from-dcos", "from-dcos-backup", "from-dcos-migrate"}

// belongs says for which sources a flag is.
var belongs = map[string][]string{
	"from-zk-auth-file": {"from-vault-zk"},
	"unseal-key-file":   {"from-vault-zk", "from-vault-znodes"},
	"gpg":               {"from-vault-zk", "from-vault-znodes"},
	"vault-token-file":  {"from-vault"},
	"from-token-file":   {"from-dcos"},
	"from-ca-cert":      {"from-vault", "from-dcos"},
	"cipher-key-file":   {"from-dcos-backup"},
	"from-namespace":    {"from-vault-zk", "from-vault-znodes", "from-vault"},
	"mount":             {"from-vault-zk", "from-vault-znodes", "from-vault"},
	"as":                {"from-vault-zk", "from-vault-znodes", "from-vault"},
	"value-key":         {"from-vault-zk", "from-vault-znodes", "from-vault"},
	"base64-key":        {"from-vault-zk", "from-vault-znodes", "from-vault"},
	"versions":          {"from-vault-zk", "from-vault-znodes", "from-vault"},
	"rename":            SourceFlags,
}

const (
	defaultValueKey = "value"
	maxVersions     = 100
)

// Register adds the flags.
func (f *Flags) Register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.zk, "from-vault-zk", "", "import what a Vault has stored in ZooKeeper: `zk://HOST:PORT,HOST:PORT/ROOT`")
	fs.StringVar(&f.zkAuth, "from-zk-auth-file", "", "`FILE` with user:password for that ZooKeeper")
	fs.StringVar(&f.znodes, "from-vault-znodes", "", "import the dump of such znodes in `FILE`")
	fs.StringArrayVar(&f.keyFiles, "unseal-key-file", nil, "`FILE` with the unseal key or shares of that Vault, in hex or base64, or encrypted for your gpg (- is standard input; repeatable)")
	fs.StringVar(&f.gpg, "gpg", "gpg", "the GnuPG `PROGRAM`")
	fs.StringVar(&f.vault, "from-vault", "", "import from the running Vault or OpenBao at `URL`")
	fs.StringVar(&f.vaultToken, "vault-token-file", "", "`FILE` with a token for it")
	fs.StringVar(&f.dcos, "from-dcos", "", "import from the server with the Secrets API of DC/OS at `URL`")
	fs.StringVar(&f.token, "from-token-file", "", "`FILE` with a token for it")
	fs.StringVar(&f.ca, "from-ca-cert", "", "`FILE` with the CA certificates to trust for the source (PEM)")
	fs.StringVar(&f.tar, "from-dcos-backup", "", "import the tar file of dcos-secrets-backup in `FILE`")
	fs.StringVar(&f.cipherKey, "cipher-key-file", "", "`FILE` with its cipher key of 32 bytes (default: the key that is built into the tool)")
	fs.StringVar(&f.migrate, "from-dcos-migrate", "", "import the backup of dcos-migrate in `FILE`, or in a folder")
	fs.StringVar(&f.as, "as", "", "what an object that is not just text becomes: `HOW` is value, json or split")
	fs.StringVar(&f.valueKey, "value-key", defaultValueKey, "the member that is the text, instead of value: `NAME`")
	fs.StringVar(&f.base64Key, "base64-key", "", "the member that holds a binary secret in base64: `NAME`")
	fs.StringArrayVar(&f.mounts, "mount", nil, "import the mount `NAME` only (repeatable)")
	fs.StringVar(&f.namespace, "from-namespace", "", "import the namespace `NAME` only")
	fs.IntVar(&f.versions, "versions", 1, "import the newest `N` versions of a secret")
	fs.StringVar(&f.rename, "rename", "", "`FILE` with paths for secrets whose names cannot be used: JSON, as --dry-run proposes")
}

// Given reports whether a source is named.
func (f *Flags) Given() bool {
	return cmp.Or(f.zk, f.znodes, f.vault, f.dcos, f.tar, f.migrate) != ""
}

// Check refuses flags that are for another source.
func (f *Flags) Check(cmd *cobra.Command) error {
	for name, sources := range belongs {
		if !cmd.Flags().Changed(name) {
			continue
		}
		given := false
		for _, s := range sources {
			given = given || cmd.Flags().Changed(s)
		}
		if !given {
			return base.Usagef("--%s is for --%s", name, strings.Join(sources, ", --"))
		}
	}
	switch f.as {
	case asNothing, asValue, asJSON, asSplit:
	default:
		return base.Usagef("--as must be value, json or split")
	}
	if f.versions < 1 || f.versions > maxVersions {
		return base.Usagef("--versions must be 1 to %d", maxVersions)
	}
	if f.valueKey == "" || f.valueKey == f.base64Key {
		return base.Usagef("--value-key and --base64-key must name different members")
	}
	return nil
}

// Origin is an open source.
type Origin struct {
	origin  origin
	mapping mapping
	renames renames
}

// Close forgets the source and its keys.
func (o *Origin) Close() { o.origin.close() }

// Open opens the source. timeout bounds each request.
func (f *Flags) Open(ctx context.Context, p *base.Process, timeout time.Duration) (*Origin, error) {
	o := &Origin{mapping: mapping{f.as, f.valueKey, f.base64Key}}
	if f.rename != "" {
		data, err := base.ReadText(p, f.rename)
		if err != nil {
			return nil, err
		}
		if o.renames, err = parseRenames(data); err != nil {
			return nil, base.Usagef("%s: %v", f.rename, err)
		}
	}
	var err error
	switch {
	case f.zk != "":
		o.origin, err = f.openZooKeeper(ctx, p)
	case f.znodes != "":
		o.origin, err = f.openDump(ctx, p)
	case f.vault != "":
		o.origin, err = f.openVault(p, timeout)
	case f.dcos != "":
		o.origin, err = f.openDCOS(p, timeout)
	case f.tar != "":
		o.origin, err = f.openTar(p)
	default:
		o.origin, err = f.openMigrate(p)
	}
	if err != nil {
		return nil, err
	}
	return o, nil
}

// options say what to list in a Vault.
func (f *Flags) options() vault.Options {
	now := time.Now
	if f.testOnlyNow != nil {
		now = f.testOnlyNow
	}
	o := vault.Options{Versions: f.versions, Now: now()}
	for _, m := range f.mounts {
		o.Mounts = append(o.Mounts, folder(m))
	}
	if f.namespace != "" {
		o.Namespace = folder(f.namespace)
	}
	return o
}

func folder(name string) string { return strings.Trim(name, "/") + "/" }

// folderOf returns where the secrets of a mount go: below its namespace and its name. It
// leaves out the only namespace and the only mount that were asked for, and secret/, which
// Vault makes by default.
func (f *Flags) folderOf(m *vault.Mount) string {
	namespace, mount := m.Namespace, m.Path
	if f.namespace != "" {
		namespace = ""
	}
	if len(f.mounts) == 1 || namespace == "" && mount == "secret/" {
		mount = ""
	}
	return namespace + mount
}

// inventory makes the inventory of a Vault. Mounts that do not exist are mistakes.
func (f *Flags) inventory(l *vault.Listing) (*inventory, error) {
	for _, m := range f.options().Mounts {
		found := false
		for _, mount := range l.Mounts {
			found = found || mount.Path == m
		}
		if !found {
			return nil, fmt.Errorf("the source has no KV mount %q", m)
		}
	}
	return ofVault(l, f.folderOf), nil
}
