package fleet

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/internal/atomicfile"
)

// knownStores remembers which store each server had at the first contact, as ssh
// remembers host keys. Anybody who can write to the storage can put a store of their
// own in its place, and could then read what people put into it.
//
// The file has one line "URL STORE UUID" for each. If two commands add a line at the
// same moment, one may be lost; its server is then new at the next contact.
type knownStores struct {
	path    string // "" if there is no folder for it
	byPlace map[place]string
}

type place struct{ url, store string }

// loadKnown reads the file. A malformed file is an error: to treat it as empty would
// trust every store again.
func loadKnown(p *base.Process) (*knownStores, error) {
	k := &knownStores{byPlace: map[place]string{}}
	dir := base.UserDir(p, "XDG_STATE_HOME", filepath.Join(".local", "state"))
	if dir == "" {
		return k, nil
	}
	k.path = filepath.Join(dir, "known-stores")
	data, err := base.ReadUserFile(k.path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) && !exists(k.path) {
		return k, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the stores known so far: %w", err)
	}
	if k.byPlace, err = parseKnown(data); err != nil {
		return nil, fmt.Errorf("%s: %w; repair it, or remove it to trust each store again at the next contact", k.path, err)
	}
	return k, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// parseKnown reads the text of the file.
func parseKnown(data []byte) (map[place]string, error) {
	out := map[place]string{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		fields := strings.Fields(text)
		if len(fields) != 3 {
			return nil, fmt.Errorf("line %d is not \"URL STORE UUID\"", n)
		}
		at := place{fields[0], fields[1]}
		if _, twice := out[at]; twice {
			return nil, fmt.Errorf("line %d repeats a server", n)
		}
		out[at] = fields[2]
	}
	return out, lines.Err()
}

func (k *knownStores) text() []byte {
	order := func(a, b place) int { return strings.Compare(a.url+" "+a.store, b.url+" "+b.store) }
	var out bytes.Buffer
	for _, at := range slices.SortedFunc(maps.Keys(k.byPlace), order) {
		fmt.Fprintf(&out, "%s %s %s\n", at.url, at.store, k.byPlace[at])
	}
	return out.Bytes()
}

// save replaces the file, mode 0600.
func (k *knownStores) save() error {
	if k.path == "" {
		return errors.New("neither XDG_STATE_HOME nor HOME is set")
	}
	// Home folders are often reached through links of root.
	rules := atomicfile.Rules{Links: true, Make: atomicfile.MkdirPrivate}
	return rules.WriteFile(k.path, k.text(), 0o600)
}

// validUUID checks an id from a server, which must not break the file.
func validUUID(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-')
	})
}
