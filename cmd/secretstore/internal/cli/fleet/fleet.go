// Package fleet talks to all servers of one store. It knows only the servers that
// the operator named, remembers which store each had at the first contact, and
// sends no key to another one.
package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/config"
)

// flags say which servers a command talks to, and as whom.
type flags struct {
	base.Remote
	insecure bool
	newStore bool
}

func (f *flags) register(cmd *cobra.Command) {
	f.Remote.Register(cmd)
	cmd.Flags().BoolVar(&f.insecure, "insecure", false, "allow plain HTTP to another machine, which exposes keys and the token to the network")
	cmd.Flags().BoolVar(&f.newStore, "new-store", false, "accept that the servers now have another store, and remember it")
}

// LongHelp ends the help of each command that talks to all servers.
const LongHelp = "\n\nThe command talks to every server that you name: with --server (repeatable), in SECRETSTORE_SERVER (separated\n" +
	"by commas), or in $XDG_CONFIG_HOME/secretstore/config.yaml (servers: [URL, URL]). In the end it prints their status."

// Opener connects to the named servers and reads the status of each. It may be
// called once.
type Opener func(ctx context.Context) (*Fleet, error)

// Command makes cmd a command that talks to all servers. Nothing is sent before body
// calls open. The context ends on Ctrl-C. --timeout limits single requests only, for
// people may take their time with passphrases and cards.
func Command(p *base.Process, cmd *cobra.Command, body func(ctx context.Context, cmd *cobra.Command, open Opener) error) *cobra.Command {
	var flags flags
	flags.register(cmd)
	cmd.RunE = base.Run(func(cmd *cobra.Command, _ []string) error {
		ctx, stop := base.SignalContext()
		defer stop()
		var f *Fleet
		defer func() { f.close() }()
		return aboutKeys(body(ctx, cmd, func(ctx context.Context) (*Fleet, error) {
			var err error
			if f, err = flags.connect(p); err != nil {
				return nil, err
			}
			f.Look(ctx)
			return f, nil
		}))
	})
	return cmd
}

// aboutKeys keeps the text of a conflict. Its hint would be about a secret that
// exists already.
func aboutKeys(err error) error {
	if errors.Is(err, client.ErrExists) {
		return errors.New(err.Error())
	}
	return err
}

// Fleet is all servers of one store that the operator named.
type Fleet struct {
	P        *base.Process
	Members  []*Member
	known    *knownStores
	store    string
	newStore bool
	Timeout  time.Duration
	UUID     string // of the store; set by Trust
}

// Member is one server. Its fields hold what Look read last.
type Member struct {
	URL     string
	Client  *client.Client
	Backend wire.Backend
	Seal    wire.SealStatus
	nodes   wire.Nodes // the servers that it knows of; see Strangers
	Err     error
	// What Examine found: the state of the storage, and why the server is not
	// ready.
	storage, notReady string
}

// UUID returns the id of the member's store, or "" if it has none yet.
func (m *Member) UUID() string { return cmp.Or(m.Seal.UUID, m.Backend.UUID) }

// State returns unsealed, sealed, uninitialized, CreatingKey, damaged, unavailable
// (the server answers, but cannot say), refuses or unreachable.
func (m *Member) State() string {
	switch {
	case m.Err == nil:
		return stateWord(m.Backend, m.Seal)
	case errors.Is(m.Err, client.ErrSealed):
		return "sealed" // and the token cannot be checked
	case errors.Is(m.Err, client.ErrUnavailable):
		return "unavailable"
	case errors.As(m.Err, new(*client.Error)):
		return "refuses"
	}
	return "unreachable"
}

// throwaway reports whether the member has a store for development. People delete
// the folder of such a store at any time, so it is not remembered. Only a server on
// this machine may say so, and not if another store is remembered for it.
func (m *Member) throwaway() bool {
	u, err := base.ParseServer(m.URL)
	return err == nil && m.Backend.Development && config.IsLoopback(u.Hostname())
}

func (f *flags) connect(p *base.Process) (*Fleet, error) {
	servers, err := base.NamedServers(p, f.Servers)
	if err != nil {
		return nil, err
	}
	if err := refusePlain(servers, f.insecure); err != nil {
		return nil, err
	}
	out := &Fleet{P: p, store: f.Store, newStore: f.newStore, Timeout: f.Timeout}
	if out.known, err = loadKnown(p); err != nil {
		return nil, err
	}
	cfg, err := f.ClientConfig(p)
	if err != nil {
		return nil, err
	}
	cfg.SingleUse = true // nothing about keys is ever sent twice
	for _, url := range servers {
		cfg.Server = url
		c, err := client.New(cfg)
		if err != nil {
			return nil, base.Usagef("%v", err)
		}
		out.Members = append(out.Members, &Member{URL: url, Client: c})
	}
	return out, nil
}

func (f *Fleet) close() {
	if f == nil {
		return
	}
	for _, m := range f.Members {
		m.Client.Close()
	}
}

// Each calls do for all members at once, each with the time of one request, and waits
// for all.
func (f *Fleet) Each(ctx context.Context, do func(ctx context.Context, m *Member)) {
	var all sync.WaitGroup
	for _, m := range f.Members {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, f.Timeout)
			defer cancel()
			do(ctx, m)
		})
	}
	all.Wait()
}

// InTurn calls do for one member after another. Servers that are unsealed at the
// same moment would each record the intent and see the record of the other change;
// in turn, the first records it and the others find it.
func (f *Fleet) InTurn(ctx context.Context, do func(ctx context.Context, m *Member)) {
	for _, m := range f.Members {
		one, cancel := context.WithTimeout(ctx, f.Timeout)
		do(one, m)
		cancel()
	}
}

// Look reads the status of every server.
func (f *Fleet) Look(ctx context.Context) {
	f.Each(ctx, func(ctx context.Context, m *Member) {
		known := m.Seal
		unsealed := known.Shares > 0 && !known.Sealed
		for until := time.Now().Add(loadTime); ; time.Sleep(loadPause) {
			if m.Backend, m.Err = m.Client.Status(ctx); m.Err == nil {
				m.Seal, m.Err = m.Client.SealStatus(ctx)
			}
			if !unsealed || !asksToWait(m.Err) || ctx.Err() != nil || time.Now().After(until) {
				break
			}
		}
		if unsealed && (errors.Is(m.Err, client.ErrUnauthorized) || asksToWait(m.Err)) {
			// The unseal ends the token of a sign-in while sealed. What it
			// answered is then what is known.
			m.Backend, m.Seal, m.Err = wire.Backend{Initialized: true, UUID: known.UUID}, known, nil
		}
		if m.Err == nil && m.UUID() != "" && !validUUID(m.UUID()) {
			m.Err = errors.New("the server returned an invalid store id; is it a Secret Store?")
		}
	})
}

// loadTime is how long a server that was just unsealed may take to load users and
// grants, before which it answers nothing else.
const (
	loadTime  = 10 * time.Second
	loadPause = 100 * time.Millisecond
)

// asksToWait reports whether an unsealed server asks to try again.
func asksToWait(err error) bool {
	var answer *client.Error
	return errors.As(err, &answer) && answer.RetryAfter > 0 && errors.Is(err, client.ErrUnavailable) && !errors.Is(err, client.ErrSealed)
}

// Answering returns the members that answered. If none did, it returns the error of
// the first.
func (f *Fleet) Answering() ([]*Member, error) {
	var all []*Member
	for _, m := range f.Members {
		if m.Err == nil {
			all = append(all, m)
		}
	}
	if len(all) == 0 {
		return nil, f.Members[0].Err
	}
	return all, nil
}

// Leader returns the server that does what is done once for a store: the first that
// is unsealed, else the first that answers.
func (f *Fleet) Leader() (*Member, error) {
	all, err := f.Answering()
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		if m.State() == "unsealed" {
			return m, nil
		}
	}
	return all[0], nil
}

// Failure returns the error of the first server that has one.
func (f *Fleet) Failure() error {
	for _, m := range f.Members {
		if m.Err != nil && len(f.Members) > 1 {
			return fmt.Errorf("%s: %w", m.URL, m.Err)
		}
		if m.Err != nil {
			return m.Err
		}
	}
	return nil
}

// Ask limits the time of one request.
func Ask[T any](ctx context.Context, f *Fleet, do func(ctx context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	return do(ctx)
}

// Trust checks that every server has the store that it had at the first contact, and
// that all have the same one. It remembers new ones. Nothing that opens a store may
// be sent before.
func (f *Fleet) Trust() error {
	uuid, from, changed := "", "", false
	for _, m := range f.Members {
		if m.Err != nil {
			continue
		}
		if m.State() == Damaged {
			return fmt.Errorf("the storage of %s is damaged, so it gets no keys; for details: secretstore status --server %s", m.URL, m.URL)
		}
		at := place{m.URL, f.store}
		pinned, now := f.known.byPlace[at], m.UUID()
		if pinned != "" && pinned != now && !f.newStore {
			return changedStore(m, pinned)
		}
		if now == "" {
			continue
		}
		if uuid != "" && uuid != now {
			return fmt.Errorf("%s and %s have different stores (%s and %s); name only servers of one storage", from, m.URL, uuid, now)
		}
		uuid, from = now, m.URL
		f.UUID = uuid
		switch {
		case pinned == now:
		case !m.throwaway():
			f.known.byPlace[at], changed = now, true
		case pinned != "":
			delete(f.known.byPlace, at)
			changed = true
		}
	}
	if !changed {
		return nil
	}
	if err := f.known.save(); err != nil {
		fmt.Fprintf(f.P.Stderr, "secretstore: warning: could not remember which store this is, so another one in its place will go unnoticed: %v\n", err)
	}
	return nil
}

func changedStore(m *Member, pinned string) error {
	now := "has store " + m.UUID()
	if m.UUID() == "" {
		now = "says that it has none (" + strings.Join(append([]string{"it is " + m.State()}, m.Seal.Warnings...), "; ") + ")"
	}
	return fmt.Errorf("%s had store %s at the first contact, and now %s. Somebody may have put another store in its place: "+
		"do not give it keys or secrets before you know why. If it was wiped on purpose, use --new-store once", m.URL, pinned, now)
}

// refusePlain refuses to send keys in the clear to another machine.
func refusePlain(servers []string, insecure bool) error {
	for _, s := range servers {
		u, err := base.ParseServer(s)
		if err != nil {
			return err
		}
		if u.Scheme == "http" && !config.IsLoopback(u.Hostname()) && !insecure {
			return base.Usagef("%s is plain HTTP to another machine, which exposes shares of the unseal key and the token to the network; use https, "+
				"or --insecure if the network itself is safe (a tunnel)", s)
		}
	}
	return nil
}

// Unsealed reports whether every server that answers is unsealed.
func (f *Fleet) Unsealed() bool {
	all, err := f.Answering()
	if err != nil {
		return false
	}
	for _, m := range all {
		if m.Seal.Sealed || m.UUID() == "" {
			return false
		}
	}
	return true
}
