// Package fleet talks to all servers of one store. It knows only the servers that
// the operator named, remembers which store each had at the first contact, and
// sends no key to another one.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/config"
)

// flags say which servers a command about keys talks to, and as whom.
type flags struct {
	base.Remote // its own server is not used
	servers     []string
	insecure    bool
	newStore    bool
}

func (f *flags) register(cmd *cobra.Command) {
	f.Remote.Register(cmd, &f.servers)
	cmd.Flags().BoolVar(&f.insecure, "insecure", false, "allow plain HTTP to another machine: keys and the token can be read on the way")
	cmd.Flags().BoolVar(&f.newStore, "new-store", false, "the servers are known to have another store than before: remember the new one")
}

// LongHelp ends the description of each command that talks to all servers.
const LongHelp = "\n\nIt talks to every server that is named: with --server (several times), in SECRETSTORE_SERVER (separated by\n" +
	"commas), or in $XDG_CONFIG_HOME/secretstore/config.yaml (servers: [URL, URL]). It ends with the status of each."

// Opener connects to the servers that were named and looks at each; it may be
// called once.
type Opener func(ctx context.Context) (*Fleet, error)

// Command makes a command that talks to all servers. Nothing is sent before
// body calls the opener. The context ends on Ctrl-C; --timeout bounds single
// requests, for people may take their time with passphrases and cards.
func Command(p *base.Process, cmd *cobra.Command, body func(ctx context.Context, cmd *cobra.Command, open Opener) error) *cobra.Command {
	var flags flags
	flags.register(cmd)
	cmd.RunE = base.Run(func(cmd *cobra.Command, _ []string) error {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop)
		var f *Fleet
		defer func() { f.close() }()
		return body(ctx, cmd, func(ctx context.Context) (*Fleet, error) {
			var err error
			if f, err = flags.connect(p); err != nil {
				return nil, err
			}
			f.Look(ctx)
			return f, nil
		})
	})
	return cmd
}

// Fleet is all servers of one store, as the operator named them.
type Fleet struct {
	P        *base.Process
	Members  []*Member
	known    *knownStores
	store    string
	newStore bool
	Timeout  time.Duration
	UUID     string // of the store that trust has approved of
}

// Member is one server. Its fields are of the last look at it.
type Member struct {
	URL     string
	Client  *client.Client
	Backend wire.Backend
	Seal    wire.SealStatus
	tells   wire.Nodes // of all servers; see strangers
	Err     error
}

// UUID returns that of the member's store, "" if there is none yet.
func (m *Member) UUID() string { return base.First(m.Seal.UUID, m.Backend.UUID) }

// State is the word for people and scripts.
func (m *Member) State() string {
	switch {
	case m.Err == nil:
		return stateWord(m.Backend, m.Seal)
	case errors.As(m.Err, new(*client.Error)):
		return "refuses"
	}
	return "unreachable"
}

// throwaway reports whether the member has a store for development, whose
// folder may be thrown away at any time: another one in its place is no news,
// so it is not remembered. Only a server on this machine is believed; and where
// another store is remembered, that one still has to be there.
func (m *Member) throwaway() bool {
	u, err := base.ParseServer(m.URL)
	return err == nil && m.Backend.Development && config.IsLoopback(u.Hostname())
}

func (f *flags) connect(p *base.Process) (*Fleet, error) {
	servers, err := base.NamedServers(p, f.servers)
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

// Each calls do for all members at once, each within the time of a request, and
// waits for all.
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

// InTurn calls do for one member after another: of servers that are unsealed at
// the same moment each would record that intent, and one notice the other's
// record; in turn the first does, and the others find it so.
func (f *Fleet) InTurn(ctx context.Context, do func(ctx context.Context, m *Member)) {
	for _, m := range f.Members {
		one, cancel := context.WithTimeout(ctx, f.Timeout)
		do(one, m)
		cancel()
	}
}

// Look asks every server for its status.
func (f *Fleet) Look(ctx context.Context) {
	f.Each(ctx, func(ctx context.Context, m *Member) {
		if m.Backend, m.Err = m.Client.Status(ctx); m.Err == nil {
			m.Seal, m.Err = m.Client.SealStatus(ctx)
		}
		if m.Err == nil && m.UUID() != "" && !validUUID(m.UUID()) {
			m.Err = errors.New("the server names its store in a way that is none; is it a Secret Store?")
		}
	})
}

// Answering returns the members that answered, or the error of the first if
// there are none.
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

// Leader returns the server for what is done once for the store: the first that
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

// Ask bounds one request.
func Ask[T any](ctx context.Context, f *Fleet, do func(ctx context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, f.Timeout)
	defer cancel()
	return do(ctx)
}

// Trust checks that every server has the store that it had at the first
// contact, and all of them the same; it remembers those that are new. Nothing
// that opens a store is sent before.
func (f *Fleet) Trust() error {
	uuid, from, changed := "", "", false
	for _, m := range f.Members {
		if m.Err != nil {
			continue
		}
		if m.State() == Damaged {
			return fmt.Errorf("the storage of %s is damaged, so it gets no keys; what is wrong is shown by: secretstore status --server %s", m.URL, m.URL)
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
		fmt.Fprintf(f.P.Stderr, "secretstore: warning: which store this is could not be remembered, so a change of it will not be noticed: %v\n", err)
	}
	return nil
}

func changedStore(m *Member, pinned string) error {
	now := "has store " + m.UUID()
	if m.UUID() == "" {
		now = "says that it has none (" + strings.Join(append([]string{"it is " + m.State()}, m.Seal.Warnings...), "; ") + ")"
	}
	return fmt.Errorf("%s had store %s at the first contact, and now %s. Somebody may have put another store in its place: "+
		"do not give it keys or secrets before you know why. If it was wiped and made anew on purpose, say so once with --new-store", m.URL, pinned, now)
}

// refusePlain refuses to send keys in the clear to another machine.
func refusePlain(servers []string, insecure bool) error {
	for _, s := range servers {
		u, err := base.ParseServer(s)
		if err != nil {
			return err
		}
		if u.Scheme == "http" && !config.IsLoopback(u.Hostname()) && !insecure {
			return base.Usagef("%s is plain HTTP to another machine: shares of the unseal key and the token could be read on the way; use https, "+
				"or say --insecure if the network itself is safe (a tunnel)", s)
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
