package migrate

import (
	"context"
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
		names, next, err := dcosbackup.ParseList(a.Body)
		if err != nil {
			return nil, failedSource(err)
		}
		if err := room.Take(append(names, next)...); err != nil {
			return nil, failedSource(err)
		}
		for _, name := range names {
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
		if next == "" || next <= after {
			return inv, nil
		}
		after = next
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
	a, err := d.get(ctx, strings.Join(parts, "/"))
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
		return content{item: &forms.Item{Value: a.Body, Binary: true}}, nil
	}
	defer clear(a.Body)
	s, err := dcosbackup.ParseAnswer(name, a.Body)
	if err != nil {
		return content{}, &vault.Damage{Err: err}
	}
	return content{item: itemOf(s)}, nil
}
