package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/forms"
	"secretstore/internal/dcosbackup"
	"secretstore/internal/vault"
)

// dcos is a server with the Secrets API of DC/OS.
type dcos struct {
	*remote
	mount *vault.Mount
}

func (f *Flags) openDCOS(p *base.Process, timeout time.Duration) (origin, error) {
	r, err := f.newRemote(p, "from-dcos", f.dcos, timeout)
	if err != nil {
		return nil, err
	}
	if f.token != "" {
		token, err := base.ReadKey(p, f.token, "token")
		if err != nil {
			return nil, err
		}
		r.header.Set("Authorization", "token="+token)
	}
	r.header.Set("Accept", "*/*")
	r.base = strings.TrimSuffix(strings.TrimSuffix(r.base, "/"), wire.BasePath) + wire.BasePath + "/secret/default/"
	return &dcos{r, &vault.Mount{Path: "/", Kind: "DC/OS"}}, nil
}

func (d *dcos) list(ctx context.Context) (*inventory, error) {
	inv := &inventory{mounts: []*vault.Mount{d.mount}}
	seen := map[string]bool{}
	var room vault.Room
	incomplete := false
	for after := ""; ; {
		query := url.Values{"list": {"true"}}
		if after != "" {
			query.Set("after", after)
		}
		a, err := d.get(ctx, "?"+query.Encode())
		if err != nil {
			return nil, err
		}
		if err := problemOf(a); err != nil {
			return nil, failedSource(fmt.Errorf("its list of secrets: %w", err))
		}
		l, err := dcosbackup.ParseList(a.Body)
		if err == nil {
			err = room.Take(append(l.Names, l.Next)...)
		}
		if err != nil {
			return nil, failedSource(err)
		}
		incomplete = incomplete || l.Incomplete
		for _, name := range l.Names {
			switch {
			case len(inv.records) == vault.MaxSecrets:
				return nil, failedSource(vault.ErrTooMany)
			case seen[name]:
				continue
			case !reachable(name):
				inv.problems = append(inv.problems, vault.Problem{Name: name, Err: errors.New("has an empty part, \".\" or \"..\", so its address leads elsewhere")})
				continue
			}
			seen[name] = true
			inv.records = append(inv.records, record{d.mount, name, name, func(ctx context.Context) (content, error) { return d.read(ctx, name) }})
		}
		switch {
		case l.Next == "":
			if incomplete {
				inv.problems = append(inv.problems, vault.Problem{Name: "(list)", Err: errors.New("the source skips damaged records, so secrets may be missing")})
			}
			return inv, nil
		case l.Next <= after:
			return nil, failedSource(fmt.Errorf("its list of secrets goes back to %.200q", l.Next))
		}
		after = l.Next
	}
}

// reachable reports whether a name can be part of a URL without meaning another.
func reachable(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

// problemOf returns what is wrong with an answer about one secret or list.
func problemOf(a answer) error {
	switch a.Status {
	case http.StatusOK:
		return nil
	case http.StatusUnauthorized:
		return failedSource(errors.New("it refuses the token (401); give one with --from-token-file"))
	case http.StatusForbidden:
		return errors.New("the token may not read it")
	case http.StatusNotFound:
		return vault.ErrGone
	}
	return fmt.Errorf("the answer is %d %s", a.Status, http.StatusText(a.Status))
}

func (d *dcos) read(ctx context.Context, name string) (content, error) {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	at := strings.Join(parts, "/")
	a, err := d.get(ctx, at)
	if err != nil {
		return content{}, err
	}
	if err := problemOf(a); err != nil {
		if _, ok := errors.AsType[*sourceError](err); ok {
			return content{}, err
		}
		return content{}, &vault.Damage{Err: err}
	}
	if kind, _, _ := strings.Cut(a.kind, ";"); kind == wire.TypeBinary {
		item := &forms.Item{Value: a.Body, Binary: true}
		return content{item: item}, d.describe(ctx, at, a.etag, item)
	}
	defer clear(a.Body)
	s, err := dcosbackup.ParseAnswer(name, a.Body)
	if err != nil {
		return content{}, &vault.Damage{Err: err}
	}
	return content{item: itemOf(s)}, nil
}

// describe adds the description and the labels of a binary secret. A store of this kind
// shows them only beside the list of versions; that of DC/OS has no ETags, and shows none.
func (d *dcos) describe(ctx context.Context, at, etag string, item *forms.Item) error {
	if etag == "" {
		return nil
	}
	a, err := d.get(ctx, at+"?versions=true")
	if err != nil {
		clear(item.Value)
		return err
	}
	defer clear(a.Body) // of another server, it may be the value
	var all wire.Versions
	if json.Unmarshal(a.Body, &all) != nil || len(all.Versions) == 0 || all.Versions[0].ETag != etag {
		return nil
	}
	if all.Description != "" {
		item.Description = &all.Description
	}
	if len(all.Labels) > 0 {
		item.Labels = &all.Labels
	}
	return nil
}
