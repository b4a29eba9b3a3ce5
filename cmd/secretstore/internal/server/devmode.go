package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"secretstore/acl/token"
	"secretstore/cmd/secretstore/internal/config"
	"secretstore/iam/password"
	"secretstore/internal/atomicfile"
	"secretstore/internal/filetrust"
	"secretstore/internal/shell"
	"secretstore/internal/watchfile"
	"secretstore/seal"
)

// The development setup keeps everything in one folder, which the user may delete.
const (
	devFolder     = ".secretstore-dev"
	devDatabase   = "secretstore.db"
	devAuthSecret = "auth-secret"
	devAuditLog   = "audit.log"
	devToken      = "token"
	devUser       = "dev"
	devSuperusers = "superusers"
	devPassword   = "password"
	devAdmin      = "admin"
)

// devSetup makes the folder of --dev below dir, or uses the one that exists with its
// secrets, and points cfg at it.
func devSetup(cfg config.Config, dir string) (config.Config, error) {
	folder := filepath.Join(dir, devFolder)
	if err := openDevFolder(folder); err != nil {
		return cfg, fmt.Errorf("the folder of --dev: %w", err)
	}
	secretFile := filepath.Join(folder, devAuthSecret)
	secret, err := devSecret(secretFile)
	if err != nil {
		return cfg, err
	}
	raw, err := token.Sign(devUser, time.Time{}, "", secret)
	if err != nil {
		return cfg, fmt.Errorf("%s: %w; remove the folder %s to start over (its secrets will be lost)", secretFile, err, folder)
	}
	if err := devFiles().WriteFile(filepath.Join(folder, devToken), []byte(raw+"\n"), 0o600); err != nil {
		return cfg, fmt.Errorf("write the token of --dev: %w", err)
	}
	cfg.Storage = config.Storage{Kind: config.Bolt, Path: filepath.Join(folder, devDatabase)}
	cfg.AuthSecretFile = secretFile
	cfg.Superusers = append(cfg.Superusers, devUser)
	if !cfg.Given("iam") {
		cfg.IAM = config.IAMBuiltin
	}
	if !cfg.Given("audit-log") {
		cfg.AuditLog = filepath.Join(folder, devAuditLog)
	}
	if cfg.IAM == config.IAMBuiltin {
		cfg.SuperuserPasswordFile, err = devSignIn(folder)
	}
	return cfg, err
}

// devSignIn makes the files with which a person signs in, unless they exist, and
// returns the one for the server.
func devSignIn(folder string) (superusers string, err error) {
	superusers, passwordFile := filepath.Join(folder, devSuperusers), filepath.Join(folder, devPassword)
	_, err = os.Stat(superusers)
	if _, other := os.Stat(passwordFile); err == nil && other == nil {
		return superusers, nil
	}
	secret := []byte(rand.Text())
	if err := devFiles().WriteFile(passwordFile, append(slices.Clone(secret), '\n'), 0o600); err != nil {
		return "", fmt.Errorf("write the password of --dev: %w", err)
	}
	line := devAdmin + ":" + password.New(secret).String() + "\n"
	if err := devFiles().WriteFile(superusers, []byte(line), 0o600); err != nil {
		return "", fmt.Errorf("write the superuser of --dev: %w", err)
	}
	return superusers, nil
}

// devFiles are the rules for the folder of --dev and the files in it.
func devFiles() atomicfile.Rules {
	return atomicfile.Rules{Links: true, Make: atomicfile.MkdirPrivate}
}

// openDevFolder makes the folder, or checks the one that exists: another user may have
// made it, or put a key of theirs into it, to become superuser.
func openDevFolder(path string) error {
	err := filetrust.CheckLink(path)
	if info, statErr := os.Stat(path); err == nil && statErr == nil {
		err = filetrust.Check(path, info)
	}
	if err != nil {
		return fmt.Errorf("%w; to start over without its secrets, run: rm -r %s", err, shell.Quote(path))
	}
	folder, err := devFiles().OpenFolder(path)
	if err != nil {
		return err
	}
	folder.Close()
	return os.Chmod(path, 0o700) // it contains the key to everything in it
}

// devSecret returns the HS256 key in the file path, 64 hex digits, which it makes at
// the first start.
func devSecret(path string) ([]byte, error) {
	old, err := watchfile.Read(path)
	if err == nil {
		return token.FirstLine(old), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the key of --dev: %w", err)
	}
	var raw [32]byte
	rand.Read(raw[:]) // never fails
	secret := []byte(hex.EncodeToString(raw[:]))
	if err := devFiles().WriteFile(path, append(secret, '\n'), 0o600); err != nil {
		return nil, fmt.Errorf("write the key of --dev: %w", err)
	}
	return secret[:64], nil
}

// thenOnce returns report, with something to do after its first call.
func thenOnce(report func(error), do func()) func(error) {
	var once sync.Once
	return func(err error) {
		report(err)
		once.Do(do)
	}
}

// greet prints what to type next, below the log so far, once that works: the store
// may still have no key.
func (s *Server) greet(ctx context.Context, st *seal.Store, endpoints []*endpoint) {
	for st.Status().State == seal.StateUninitialized {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
	i := slices.IndexFunc(endpoints, func(e *endpoint) bool { return e.scheme == "http" })
	if s.outside.FlushLog != nil {
		s.outside.FlushLog()
	}
	fmt.Fprint(s.outside.Stdout, devGreeting(s.outside.Command, endpoints[i].url(), s.iam != nil, s.cfg.Web != config.WebOff))
}

// devGreeting tells the user what to type next, in a form that works in any folder of
// another terminal.
func devGreeting(command, url string, signIn, pages bool) string {
	if path, err := exec.LookPath(command); err == nil {
		if abs, err := filepath.Abs(path); err == nil && strings.Contains(command, string(filepath.Separator)) {
			command = abs
		}
	}
	command = shell.Quote(command)
	server := ""
	if url != "http://127.0.0.1:1337" {
		server = " --server " + url
	}
	flags := server + " --token-file " + shell.Quote(inDevFolder(devToken))
	text := fmt.Sprintf("\nThe Secret Store is running for development at %s, with its data in %s.\nNext, in another terminal:\n\n"+
		"  printf hello | %[3]s put%[4]s greeting\n  %[3]s get%[4]s greeting\n\n",
		url, devFolder, command, flags)
	if signIn {
		text += fmt.Sprintf("Or sign in as the user %s, whose password is in a file. Then no command needs --token-file:\n\n"+
			"  %s login%s %[1]s --password-file %[4]s\n\n", devAdmin, command, server, shell.Quote(inDevFolder(devPassword)))
	}
	if signIn && pages {
		text += fmt.Sprintf("Or open %s/ui/ in a browser, and sign in as the same user.\n\n", url)
	}
	return text
}

// inDevFolder returns the path of a file of --dev.
func inDevFolder(name string) string {
	path := filepath.Join(devFolder, name)
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
