package cli

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
	"secretstore/cmd/secretstore/internal/config"
)

// fleetFlags say which servers a command about keys talks to, and as whom.
type fleetFlags struct {
	remoteFlags // its own server is not used
	servers     []string
	insecure    bool
	newStore    bool
}

func (f *fleetFlags) register(cmd *cobra.Command) {
	f.remoteFlags.register(cmd, &f.servers)
	cmd.Flags().BoolVar(&f.insecure, "insecure", false, "allow plain HTTP to another machine: keys and the token can be read on the way")
	cmd.Flags().BoolVar(&f.newStore, "new-store", false, "the servers are known to have another store than before: remember the new one")
}

// fleetLong ends the description of each command that talks to all servers.
const fleetLong = "\n\nIt talks to every server that is named: with --server (several times), in SECRETSTORE_SERVER (separated by\n" +
	"commas), or in $XDG_CONFIG_HOME/secretstore/config.yaml (servers: [URL, URL]). It ends with the status of each."

// opener connects to the servers that were named and looks at each; it may be
// called once.
type opener func(ctx context.Context) (*fleet, error)

// fleetCommand makes a command that talks to all servers. Nothing is sent before
// body calls the opener. The context ends on Ctrl-C; --timeout bounds single
// requests, for people may take their time with passphrases and cards.
func fleetCommand(p *Process, cmd *cobra.Command, body func(ctx context.Context, cmd *cobra.Command, open opener) error) *cobra.Command {
	var flags fleetFlags
	flags.register(cmd)
	cmd.RunE = run(func(cmd *cobra.Command, _ []string) error {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		context.AfterFunc(ctx, stop)
		var f *fleet
		defer func() { f.close() }()
		return body(ctx, cmd, func(ctx context.Context) (*fleet, error) {
			var err error
			if f, err = flags.connect(p); err != nil {
				return nil, err
			}
			f.look(ctx)
			return f, nil
		})
	})
	return cmd
}

// fleet is all servers of one store, as the operator named them.
type fleet struct {
	p        *Process
	members  []*member
	known    *knownStores
	store    string
	newStore bool
	timeout  time.Duration
	uuid     string // of the store that trust has approved of
}

// member is one server. Its fields are of the last look at it.
type member struct {
	url     string
	c       *client.Client
	backend wire.Backend
	seal    wire.SealStatus
	tells   wire.Nodes // of all servers; see strangers
	err     error
}

// uuid returns that of the member's store, "" if there is none yet.
func (m *member) uuid() string { return first(m.seal.UUID, m.backend.UUID) }

// state is the word for people and scripts.
func (m *member) state() string {
	switch {
	case m.err == nil:
		return stateWord(m.backend, m.seal)
	case errors.As(m.err, new(*client.Error)):
		return "refuses"
	}
	return "unreachable"
}

// throwaway reports whether the member has a store for development, whose
// folder may be thrown away at any time: another one in its place is no news,
// so it is not remembered. Only a server on this machine is believed; and where
// another store is remembered, that one still has to be there.
func (m *member) throwaway() bool {
	u, err := parseServer(m.url)
	return err == nil && m.backend.Development && config.IsLoopback(u.Hostname())
}

func (f *fleetFlags) connect(p *Process) (*fleet, error) {
	servers, err := namedServers(p, f.servers)
	if err != nil {
		return nil, err
	}
	if err := refusePlain(servers, f.insecure); err != nil {
		return nil, err
	}
	out := &fleet{p: p, store: f.store, newStore: f.newStore, timeout: f.timeout}
	if out.known, err = loadKnown(p); err != nil {
		return nil, err
	}
	cfg, err := f.clientConfig(p)
	if err != nil {
		return nil, err
	}
	cfg.SingleUse = true // nothing about keys is ever sent twice
	for _, url := range servers {
		cfg.Server = url
		c, err := client.New(cfg)
		if err != nil {
			return nil, usage("%v", err)
		}
		out.members = append(out.members, &member{url: url, c: c})
	}
	return out, nil
}

func (f *fleet) close() {
	if f == nil {
		return
	}
	for _, m := range f.members {
		m.c.Close()
	}
}

// each calls do for all members at once, each within the time of a request, and
// waits for all.
func (f *fleet) each(ctx context.Context, do func(ctx context.Context, m *member)) {
	var all sync.WaitGroup
	for _, m := range f.members {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, f.timeout)
			defer cancel()
			do(ctx, m)
		})
	}
	all.Wait()
}

// inTurn calls do for one member after another: of servers that are unsealed at
// the same moment each would record that intent, and one notice the other's
// record; in turn the first does, and the others find it so.
func (f *fleet) inTurn(ctx context.Context, do func(ctx context.Context, m *member)) {
	for _, m := range f.members {
		one, cancel := context.WithTimeout(ctx, f.timeout)
		do(one, m)
		cancel()
	}
}

// look asks every server for its status.
func (f *fleet) look(ctx context.Context) {
	f.each(ctx, func(ctx context.Context, m *member) {
		if m.backend, m.err = m.c.Status(ctx); m.err == nil {
			m.seal, m.err = m.c.SealStatus(ctx)
		}
		if m.err == nil && m.uuid() != "" && !validUUID(m.uuid()) {
			m.err = errors.New("the server names its store in a way that is none; is it a Secret Store?")
		}
	})
}

// answering returns the members that answered, or the error of the first if
// there are none.
func (f *fleet) answering() ([]*member, error) {
	var all []*member
	for _, m := range f.members {
		if m.err == nil {
			all = append(all, m)
		}
	}
	if len(all) == 0 {
		return nil, f.members[0].err
	}
	return all, nil
}

// leader returns the server for what is done once for the store: the first that
// is unsealed, else the first that answers.
func (f *fleet) leader() (*member, error) {
	all, err := f.answering()
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		if m.state() == "unsealed" {
			return m, nil
		}
	}
	return all[0], nil
}

// failure returns the error of the first server that has one.
func (f *fleet) failure() error {
	for _, m := range f.members {
		if m.err != nil && len(f.members) > 1 {
			return fmt.Errorf("%s: %w", m.url, m.err)
		}
		if m.err != nil {
			return m.err
		}
	}
	return nil
}

// ask bounds one request.
func ask[T any](ctx context.Context, f *fleet, do func(ctx context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	return do(ctx)
}

// trust checks that every server has the store that it had at the first
// contact, and all of them the same; it remembers those that are new. Nothing
// that opens a store is sent before.
func (f *fleet) trust() error {
	uuid, from, changed := "", "", false
	for _, m := range f.members {
		if m.err != nil {
			continue
		}
		if m.state() == damaged {
			return fmt.Errorf("the storage of %s is damaged, so it gets no keys; what is wrong is shown by: secretstore status --server %s", m.url, m.url)
		}
		at := place{m.url, f.store}
		pinned, now := f.known.byPlace[at], m.uuid()
		if pinned != "" && pinned != now && !f.newStore {
			return changedStore(m, pinned)
		}
		if now == "" {
			continue
		}
		if uuid != "" && uuid != now {
			return fmt.Errorf("%s and %s have different stores (%s and %s); name only servers of one storage", from, m.url, uuid, now)
		}
		uuid, from = now, m.url
		f.uuid = uuid
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
		fmt.Fprintf(f.p.Stderr, "secretstore: warning: which store this is could not be remembered, so a change of it will not be noticed: %v\n", err)
	}
	return nil
}

func changedStore(m *member, pinned string) error {
	now := "has store " + m.uuid()
	if m.uuid() == "" {
		now = "says that it has none (" + strings.Join(append([]string{"it is " + m.state()}, m.seal.Warnings...), "; ") + ")"
	}
	return fmt.Errorf("%s had store %s at the first contact, and now %s. Somebody may have put another store in its place: "+
		"do not give it keys or secrets before you know why. If it was wiped and made anew on purpose, say so once with --new-store", m.url, pinned, now)
}
