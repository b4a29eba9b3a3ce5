package keys

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/fleet"
)

func statusCommand(p *base.Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the state of the store and its servers",
		Long: "status shows whether each server is initialized and unsealed, whether its storage answers, and what is wrong\n" +
			"with it: a full disk, an audit log that cannot be written, a rotation that is stuck, a certificate or a\n" +
			"holder's key that expires. Only superusers see all of it. For a sealed store it names the holders. Who sealed\n" +
			"it, and when, comes from the storage: nobody has verified it.\n\n" +
			"Superusers also see servers that you did not name but that have announced themselves in a shared storage.\n" +
			"Those are not verified and not contacted: anybody who can write to the storage can announce one.\n\n" +
			"The exit status is 0 if all is well, 5 if a server is sealed or uninitialized, and 6 for a problem: a server or\n" +
			"its storage that does not answer, takes no writes or has a full disk, an audit log that cannot be written, a\n" +
			"stuck rotation, a restored backup that no server has made, a certificate or a holder's key within 7 days of its\n" +
			"end. 6 takes precedence over 5. Warnings do not change the exit status." + fleet.LongHelp,
		Example: "  secretstore status\n" +
			"  secretstore status --json | jq -r '.findings[].text'\n" +
			"  secretstore status --server https://secrets1:8443 --server https://secrets2:8443",
		Args: base.NoArgs,
	}
	return fleet.Command(p, cmd, func(ctx context.Context, cmd *cobra.Command, open fleet.Opener) error {
		f, err := open(ctx)
		if err != nil {
			return err
		}
		if err := refusedByAll(f); err != nil {
			return err
		}
		f.Examine(ctx)
		s := newStatus(ctx, f)
		if base.WantJSON(cmd) {
			err = base.PrintJSON(p.Stdout, s.document())
		} else {
			err = errors.Join(s.print(p.Stdout), fleet.PrintStrangers(p.Stdout, s.others))
		}
		return errors.Join(err, s.end(base.WantJSON(cmd)))
	})
}

// refusedByAll returns the error of the first server if none can say anything about
// the store, not because it is down: a token that is not valid, or another program.
func refusedByAll(f *fleet.Fleet) error {
	for _, m := range f.Members {
		if m.State() != "refuses" {
			return nil
		}
	}
	return f.Failure()
}

// status is what the command knows about a store.
type status struct {
	f        *fleet.Fleet
	at       *fleet.Member // the server that speaks for the store; nil if none answers
	keys     wire.Keys
	rekey    pending
	others   []fleet.Stranger
	findings []fleet.Finding
	exit     int
}

// newStatus asks what is to be asked once for a store, and judges everything.
func newStatus(ctx context.Context, f *fleet.Fleet) *status {
	s := &status{f: f}
	var unknown error
	if m, err := f.Leader(); err == nil {
		s.at, s.others = m, f.Strangers(ctx)
		unknown = s.askAboutKeys(ctx)
	}
	s.findings, s.exit = fleet.Judge(time.Now(), f.Members, s.keys.Holders)
	if unknown != nil {
		s.findings = append(s.findings, fleet.Finding{Level: fleet.Warning, Text: base.OneLine("the state of the keys is not known: " + unknown.Error())})
	}
	return s
}

// askAboutKeys reads what only superusers may, from a server that knows this user as
// one: to others, the request would only leave a denial in the audit log.
func (s *status) askAboutKeys(ctx context.Context) (err error) {
	state := s.at.State()
	if s.at.Seal.Server == nil || s.at.Storage() == wire.StorageUnreachable || state != "sealed" && state != "unsealed" {
		return nil
	}
	if s.keys, err = fleet.Ask(ctx, s.f, s.at.Client.Keys); err != nil || !s.keys.RekeyUnderWay {
		return err
	}
	rekey, err := fleet.Ask(ctx, s.f, s.at.Client.RekeyStatus)
	s.rekey = (&rekeying{f: s.f, at: s.at, state: rekey}).pending()
	return err
}

// statusDocument is the output of status --json: the server that speaks for the
// store, all servers, and those that only the storage lists.
type statusDocument struct {
	wire.Backend
	Seal wire.SealStatus `json:"seal"`
	fleet.ServersPart
	Holders  []wire.KeyHolder `json:"holders,omitempty"`
	Rekey    *pending         `json:"rekey,omitempty"`
	Findings []fleet.Finding  `json:"findings"` // never null
	Exit     int              `json:"exit_status"`
	// Others are unverified: see wire.Nodes.
	Others []fleet.Stranger `json:"others_told_by_storage,omitempty"`
}

func (s *status) document() statusDocument {
	doc := statusDocument{ServersPart: s.f.Statuses(), Holders: s.keys.Holders, Findings: s.findings, Exit: s.exit, Others: s.others}
	if s.at != nil {
		doc.Backend, doc.Seal = s.at.Backend, s.at.Seal
	}
	if s.rekey.Text != "" {
		doc.Rekey = &s.rekey
	}
	if doc.Findings == nil {
		doc.Findings = []fleet.Finding{}
	}
	return doc
}

// print prints lines about one server, or a table of several, and below it what is
// wrong and what is to do.
func (s *status) print(out io.Writer) error {
	several := len(s.f.Members) > 1
	if several {
		if err := s.f.HealthTable(out); err != nil {
			return err
		}
	}
	if s.at == nil && !several {
		return nil // the error says everything
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if !several {
		printServer(w, s.at)
	} else {
		printSealed(w, s.f)
	}
	for _, f := range s.findings {
		if f.Level == fleet.Closed {
			continue // the state is shown above
		}
		label := map[fleet.Level]string{fleet.Problem: "Problem", fleet.Warning: "Warning"}[f.Level]
		if several && f.Server != "" {
			// Not in columns, which an address would widen.
			fmt.Fprintf(out, "%s of %s: %s\n", label, f.Server, f.Text)
			continue
		}
		fmt.Fprintf(w, "%s:\t%s\n", label, f.Text)
	}
	if s.rekey.Text != "" {
		fmt.Fprintf(w, "Rekey:\t%d more of these %s must run: %s\n", s.rekey.more, s.rekey.who, s.rekey.command)
		printHolders(w, "Missing", s.rekey.Missing)
	}
	s.printNext(w)
	return w.Flush()
}

func printServer(w io.Writer, m *fleet.Member) {
	b, st := m.Backend, m.Seal
	fmt.Fprintf(w, "Store:\t%s (%s)\n", b.Name, b.Description)
	if st.Server != nil && st.Server.Version != "" {
		fmt.Fprintf(w, "Version:\t%s\n", base.OneLine(st.Server.Version))
	}
	if st.Server != nil && st.Server.SecurityMode != "" {
		fmt.Fprintf(w, "Mode:\t%s\n", base.OneLine(st.Server.SecurityMode))
	}
	fmt.Fprintf(w, "Storage:\t%s\n", m.StorageText())
	state := m.State()
	since, by := m.Since()
	if since != "-" {
		state += " since " + since
	}
	if by != "-" {
		state += " by " + by
	}
	fmt.Fprintf(w, "State:\t%s\n", state)
	if st.Server != nil && !st.Server.Restored.IsZero() {
		fmt.Fprintf(w, "Restored:\tfrom a backup of %s\n", st.Server.Restored.Format(time.RFC3339))
	}
	if b.Initialized && st.Shares > 0 {
		fmt.Fprintf(w, "Unseal key:\t%d share(s), %d needed\n", st.Shares, st.Threshold)
		if st.Sealed && st.Progress > 0 {
			fmt.Fprintf(w, "Entered:\t%d of %d\n", st.Progress, st.Threshold)
		}
	}
}

// printSealed prints what the sealed ones of several servers need. The entered shares
// are in the memory of each server.
func printSealed(w io.Writer, f *fleet.Fleet) {
	var sealed []*fleet.Member
	for _, m := range f.Members {
		if m.State() == "sealed" {
			sealed = append(sealed, m)
		}
	}
	if len(sealed) == 0 {
		return
	}
	first := sealed[0].Seal
	fmt.Fprintf(w, "Unseal key:\t%d share(s), %d needed\n", first.Shares, first.Threshold)
	if slices.ContainsFunc(sealed, func(m *fleet.Member) bool { return m.Seal.Progress != first.Progress }) {
		for _, m := range sealed {
			fmt.Fprintf(w, "Entered:\t%d of %d at %s\n", m.Seal.Progress, m.Seal.Threshold, m.URL)
		}
	} else if first.Progress > 0 {
		fmt.Fprintf(w, "Entered:\t%d of %d\n", first.Progress, first.Threshold)
	}
}

// printNext says what is to do if a server is not unsealed, and who can do it.
func (s *status) printNext(w io.Writer) {
	var sealed, empty, cutOff bool
	for _, m := range s.f.Members {
		switch state := m.State(); {
		case state != "uninitialized" && state != "sealed":
		case m.Storage() == wire.StorageUnreachable:
			cutOff = true
		case state == "uninitialized":
			empty = true
		default:
			sealed = true
		}
	}
	if sealed {
		var holders []wire.HolderName
		for _, h := range s.keys.Holders {
			holders = append(holders, wire.HolderName{Fingerprint: h.Fingerprint, UserID: h.UserID})
		}
		printHolders(w, "Holder", holders)
	}
	switch {
	case sealed && refusedRestore(s.f):
		fmt.Fprintln(w, "Next:\tstop all servers, remove what is in the storage, and restore another backup; until then an unseal is refused")
	case sealed && keepsBootstrapKey(s.f):
		fmt.Fprintln(w, "Next:\tsecretstore auto-unseal (a bootstrap key is kept)")
	case sealed:
		fmt.Fprintln(w, "Next:\tsecretstore unseal")
	case empty:
		fmt.Fprintln(w, "Next:\tsecretstore init --pgp-key FILE")
	case cutOff:
		fmt.Fprintln(w, "Next:\tmake the storage reachable; until then no server can be unsealed")
	}
}

// refusedRestore reports whether a server has refused to unseal what was restored.
func refusedRestore(f *fleet.Fleet) bool {
	return slices.ContainsFunc(f.Members, func(m *fleet.Member) bool {
		return m.State() == "sealed" && m.Seal.Server != nil &&
			slices.ContainsFunc(m.Seal.Server.Faults, func(f wire.Fault) bool { return f.Kind == wire.FaultRestore })
	})
}

func printHolders(w io.Writer, label string, all []wire.HolderName) {
	for _, h := range all {
		fmt.Fprintf(w, "%s:\t%s  %s\n", label, base.OneLine(h.Fingerprint), base.OneLine(h.UserID))
	}
}

// end returns the error that ends the command with the exit status. Everything is
// shown, except why the only server does not answer.
func (s *status) end(inJSON bool) error {
	damaged := false
	for _, m := range s.f.Members {
		damaged = damaged || m.State() == fleet.Damaged
	}
	if !damaged { // which is not another store
		if err := s.f.Trust(); err != nil {
			return err
		}
	}
	switch {
	case s.at == nil && len(s.f.Members) == 1 && !inJSON:
		return &base.WithStatus{Status: s.exit, Err: s.f.Failure()}
	case s.exit != base.ExitOK:
		return &base.Ended{Status: s.exit}
	}
	return nil
}
