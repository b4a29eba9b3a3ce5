package forms

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"secretstore/cmd/secretstore/internal/offline"
)

// ReadTree lists the secrets of a folder: each file is the secret of its path,
// without "@secret" at the end, byte for byte. An index that recover, a backup or
// export has written says more about them: @index.json, or an index.json that is
// one. Without it, a value is text if it is valid UTF-8 without NUL.
//
// Anything but files and folders is refused. The error names all problems, before any
// value is read. missing are the secrets that were damaged when the index was written.
func ReadTree(root *os.Root) (all []Source, missing []string, err error) {
	index, indexName, err := readIndex(root)
	if err != nil {
		return nil, nil, err
	}
	known := map[string]offline.Entry{}
	for _, e := range index.Secrets {
		if e.Error != "" {
			missing = append(missing, e.Path)
			continue
		}
		known[e.File] = e
	}
	var problems []error
	seen := map[string]bool{}
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() || name == indexName:
			return nil
		case !d.Type().IsRegular():
			problems = append(problems, fmt.Errorf("%q is neither a file nor a folder", name))
			return nil
		}
		secret, err := cleanPath(strings.TrimSuffix(name, offline.Taken))
		switch {
		case err != nil:
			problems = append(problems, fmt.Errorf("%q: %w", name, err))
		case seen[secret]:
			problems = append(problems, fmt.Errorf("%q: %s appears twice", name, secret))
		default:
			entry, ok := known[name]
			all = append(all, treeSource(root, name, secret, entry, ok))
		}
		seen[secret] = true
		delete(known, name)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	for file := range known {
		problems = append(problems, fmt.Errorf("%q is in %s, but there is no such file", file, indexName))
	}
	slices.SortFunc(all, func(a, b Source) int { return strings.Compare(a.Path, b.Path) })
	return all, missing, errors.Join(problems...)
}

func treeSource(root *os.Root, name, secret string, e offline.Entry, known bool) Source {
	return Source{secret, func(context.Context) (Item, error) {
		data, err := root.ReadFile(name)
		if err != nil {
			return Item{}, err
		}
		i := Item{Path: secret, Value: data, Binary: !isText(data)}
		if !known {
			return i, nil
		}
		i.Binary = e.Kind == "binary"
		if e.Description != "" {
			i.Description = &e.Description
		}
		if len(e.Labels) > 0 {
			i.Labels = &e.Labels
		}
		return i, nil
	}}
}

// readIndex returns the index and its name, or "". A secret may be called index.json, so
// a file counts as the index only if it cannot be anything else.
func readIndex(root *os.Root) (offline.Index, string, error) {
	for _, name := range []string{offline.OtherIndexName, offline.IndexName} {
		data, err := root.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return offline.Index{}, "", err
		}
		var index offline.Index
		bad := json.Unmarshal(data, &index, json.RejectUnknownMembers(true)) != nil || index.Secrets == nil
		for _, e := range index.Secrets {
			bad = bad || e.Error == "" && (e.File == "" || path.Clean(e.File) != e.File || strings.TrimSuffix(e.File, offline.Taken) != e.Path)
		}
		switch {
		case !bad:
			return index, name, nil
		case name == offline.OtherIndexName:
			return offline.Index{}, "", fmt.Errorf("%s is not an index of secrets", name)
		}
	}
	return offline.Index{}, "", nil
}
