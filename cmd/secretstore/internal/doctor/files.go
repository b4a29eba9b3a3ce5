package doctor

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"secretstore/cmd/secretstore/internal/config"
	"secretstore/internal/filetrust"
	"secretstore/internal/shell"
)

// Kind says what a file must be protected from.
type Kind int

// The kinds of files. The zero Kind is the strictest.
const (
	SecretFile   Kind = iota // others must not read it, nor change it
	DecidingFile             // it decides who gets in: others must not change it
	DataFile                 // it holds encrypted data or names: others must not read it, nor change it
	DataFolder               // others must not put another file in place of those in it
)

// bootstrapOption is the Option of the file with the bootstrap key, which is not
// named by an option.
const bootstrapOption = "bootstrap"

// File is a file that the server reads or writes.
type File struct {
	Option string // that names it, without dashes
	Path   string
	Kind   Kind
	Mode   fs.FileMode
	// Untrusted is why its content may be that of another user; nil if it is not.
	Untrusted *filetrust.Untrusted
}

func checkFiles(f *Facts) (all []Finding) {
	for _, file := range f.Files {
		all = append(all, checkFile(file)...)
	}
	return all
}

func checkFile(file File) (all []Finding) {
	add := func(severity Severity, text, fix string) {
		all = append(all, Finding{CheckFiles, severity, file.Path, text, fix})
	}
	path := shell.Quote(file.Path)
	if u := file.Untrusted; u != nil {
		fix := "if its content is yours: " + u.Command
		if u.Command == "" {
			fix = "name another file with --" + file.Option
		}
		add(Serious, u.Why+": another user can decide what the server reads or serves", fix)
	}
	perm := file.Mode.Perm()
	switch file.Kind {
	case SecretFile:
		if perm&0o004 != 0 {
			add(Serious, "a file with a secret is readable by other users of this machine", "chmod 600 "+path)
		} else if perm&0o040 != 0 && !filetrust.Credential(file.Path) {
			add(Warning, "a file with a secret is readable by the members of its group", "chmod 600 "+path)
		}
	case DataFile:
		if perm&0o044 != 0 {
			add(Warning, "a file with encrypted secrets or with names is readable by other users of this machine", "chmod 600 "+path)
		}
	}
	if perm&0o020 != 0 {
		what := "a file that decides who gets in"
		if file.Kind == DataFile || file.Kind == DataFolder {
			what = "what the server keeps"
		}
		add(Warning, "the members of a group can change "+what, "chmod g-w "+path)
	}
	return all
}

// bootstrapFile returns the file with the bootstrap key, and whether there is one.
func (f *Facts) bootstrapFile() (File, bool) {
	for _, file := range f.Files {
		if file.Option == bootstrapOption {
			return file, true
		}
	}
	return File{}, false
}

// AnyUser stands for the number of the server's user if that is not known.
const AnyUser = -1

// OwnFiles are files that a server makes beside its storage if it has to; "" if it
// never does.
type OwnFiles struct {
	BootstrapKey string
	SelfSigned   string // certificate and key of --tls-self-signed
}

// GatherFiles looks at the owners and modes of the files of a configuration, for a
// server that runs as the user with the number self, or AnyUser. It opens none.
func GatherFiles(f *Facts, self int, own OwnFiles) {
	c := f.Config
	look := func(kind Kind, option, path string, mayMiss bool) {
		if path == "" {
			return
		}
		file, err := lookAt(self, path)
		switch {
		case errors.Is(err, fs.ErrNotExist) && mayMiss:
		case err != nil:
			f.Gaps = append(f.Gaps, Gap{CheckFiles, path, err.Error(), "run this as the server's user, on its machine"})
		default:
			file.Kind, file.Option = kind, option
			f.Files = append(f.Files, file)
		}
	}
	if self == AnyUser {
		f.Gaps = append(f.Gaps, Gap{CheckFiles, "", "whether all files belong to root or the server's user: no running server says who its user is",
			"run this as the server's user: sudo -u USER"})
	}
	look(DecidingFile, "config", c.File, false)
	look(SecretFile, "auth-secret-file", c.AuthSecretFile, false)
	look(SecretFile, "tls-key-file", c.TLSKeyFile, false)
	look(SecretFile, "zk-auth-file", c.ZKAuthFile, false)
	look(SecretFile, "zk-tls-key", c.ZKTLSKey, false)
	look(SecretFile, bootstrapOption, own.BootstrapKey, true)
	look(SecretFile, "tls-self-signed", own.SelfSigned, true)
	look(DecidingFile, "policy-file", c.PolicyFile, false)
	if !isURL(c.AuthJWKS) {
		look(DecidingFile, "auth-jwks", c.AuthJWKS, false)
	}
	look(DecidingFile, "tls-cert-file", c.TLSCertFile, false)
	look(DecidingFile, "tls-client-ca", c.TLSClientCA, false)
	look(DecidingFile, "zk-tls-ca", c.ZKTLSCA, false)
	look(DecidingFile, "zk-tls-cert", c.ZKTLSCert, false)
	if c.Storage.Kind == config.Bolt {
		look(DataFile, "storage", c.Storage.Path, true)
		look(DataFolder, "storage", filepath.Dir(c.Storage.Path), true)
	}
	if c.AuditLog != "" && c.AuditLog != "-" {
		look(DataFile, "audit-log", c.AuditLog, true)
	}
}

// lookAt describes a file: through a symbolic link, if that can be trusted.
func lookAt(self int, path string) (File, error) {
	link, err := os.Lstat(path)
	if err != nil {
		return File{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return File{}, err
	}
	file := File{Path: path, Mode: info.Mode()}
	trust := checkTrust(self, path, link)
	if trust == nil {
		trust = checkTrust(self, path, info)
	}
	errors.As(trust, &file.Untrusted)
	return file, nil
}

func checkTrust(self int, path string, info fs.FileInfo) error {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && self == AnyUser {
		self = int(stat.Uid)
	}
	return filetrust.CheckFor(self, path, info)
}
