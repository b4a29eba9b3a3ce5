package base

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"secretstore/internal/atomicfile"
)

// savedTokenPath returns the file for the token that login got from a server; "" if
// the user has no folder for it. The same server, however it is spelled, has the same
// file.
func savedTokenPath(p *Process, server string) (string, error) {
	u, err := ParseServer(server)
	if err != nil {
		return "", err
	}
	dir := UserDir(p, "XDG_CONFIG_HOME", ".config")
	if dir == "" {
		return "", nil
	}
	path := strings.TrimSuffix(strings.TrimRight(u.Path, "/"), "/secrets/v1")
	name := url.QueryEscape(strings.ToLower(u.Scheme) + "://" + strings.ToLower(u.Host) + path)
	return filepath.Join(dir, "tokens", name), nil
}

// savedToken returns the token of the first of the servers that has one, and its
// file; "" if there is none. Servers that are named together are of one store.
func savedToken(p *Process, servers []string) (token, file string, err error) {
	for _, s := range servers {
		if file, err = savedTokenPath(p, s); err != nil || file == "" {
			return "", "", err
		}
		if token, err = readSavedToken(file); !errors.Is(err, fs.ErrNotExist) {
			return token, file, err
		}
	}
	return "", "", nil
}

// readSavedToken refuses a file that somebody else has put there, or can read.
func readSavedToken(file string) (string, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return "", fs.ErrNotExist
	case errors.Is(err, syscall.ELOOP):
		return "", Usagef("%s is a symbolic link; delete it, and sign in with: secretstore login", file)
	case err != nil:
		return "", Usagef("%v", err)
	}
	defer f.Close() // only read
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() || int(stat.Uid) != os.Geteuid() || info.Mode().Perm()&0o077 != 0 {
		return "", Usagef("%s is not a file that only you can read and write; delete it, and sign in with: secretstore login", file)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxLine+1))
	if err != nil {
		return "", fmt.Errorf("read the token of the last login: %w", err)
	}
	token := strings.TrimSpace(string(data))
	if !looksLikeToken(token) {
		return "", Usagef("%s does not contain a token; delete it, and sign in with: secretstore login", file)
	}
	return token, nil
}

func looksLikeToken(s string) bool {
	return len(s) <= maxLine && strings.Count(s, ".") == 2 && !strings.ContainsFunc(s, notInTokens)
}

// SaveToken keeps the token of a login for each of the servers, which are of one
// store, and returns the files.
func SaveToken(p *Process, servers []string, token string) (files []string, err error) {
	if !looksLikeToken(token) {
		return nil, errors.New("the server returned something that is not a token")
	}
	for _, s := range servers {
		file, err := savedTokenPath(p, s)
		if err != nil {
			return nil, err
		}
		if file == "" {
			return nil, Usagef("HOME and XDG_CONFIG_HOME are not set: there is no place to keep the token")
		}
		rules := atomicfile.Rules{Links: true, Make: atomicfile.MkdirPrivate}
		if err := rules.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			return nil, UsageIfRefused(err)
		}
		files = append(files, file)
	}
	return files, nil
}

// DropToken forgets what SaveToken has kept for the servers, and reports whether there
// was anything.
func DropToken(p *Process, servers []string) (found bool, err error) {
	for _, s := range servers {
		file, err := savedTokenPath(p, s)
		if err != nil || file == "" {
			return found, err
		}
		switch err := os.Remove(file); {
		case err == nil:
			found = true
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR):
			return found, err
		}
	}
	return found, nil
}

// TokenInUse is the token that a command would use, and where it is from.
type TokenInUse struct {
	Token string
	From  string    // a flag, a variable or a file
	Saved bool      // login got it
	UID   string    // "" if the token does not say it
	Until time.Time // zero if it has no end
}

// TokenInUse returns the token and what it says; without a token it is zero.
func (r *Remote) TokenInUse(p *Process) (TokenInUse, error) {
	raw, from, saved, err := r.findToken(p)
	if err != nil || raw == "" {
		return TokenInUse{}, err
	}
	t := Described(raw)
	t.From, t.Saved = from, saved
	return t, nil
}

// Described returns what a token says. Only the server can verify it.
func Described(raw string) TokenInUse {
	t := TokenInUse{Token: raw}
	var claims struct {
		jwt.RegisteredClaims
		UID string `json:"uid"`
	}
	if _, _, err := jwt.NewParser().ParseUnverified(raw, &claims); err == nil {
		t.UID = cmp.Or(claims.UID, claims.Subject)
		if claims.ExpiresAt != nil {
			t.Until = claims.ExpiresAt.Time
		}
	}
	return t
}

// Over reports that the token has expired.
func (t TokenInUse) Over() bool { return !t.Until.IsZero() && time.Now().After(t.Until) }

// Expires returns when the token ends; nil if it does not.
func (t TokenInUse) Expires() *time.Time {
	if t.Until.IsZero() {
		return nil
	}
	return &t.Until
}
