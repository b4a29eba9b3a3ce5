package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"secretstore/api/client"
	"secretstore/api/wire"
)

func rotateCommand(p *Process) *cobra.Command {
	var wait, status bool
	cmd := &cobra.Command{
		Use:   "rotate [--wait] | --status",
		Short: "Encrypt new secrets with a new data key, and the old ones anew",
		Long: "rotate adds a data key that all servers use for new writes at once. What is stored is encrypted anew in the\n" +
			"background, while reads and writes go on; when nothing is left under older keys, these are forgotten.\n" +
			"--wait waits for that." + fleetLong,
		Example: "  secretstore rotate --wait\n" +
			"  secretstore rotate --status",
		Args: noArgs,
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until everything is encrypted anew")
	cmd.Flags().BoolVar(&status, "status", false, "only show how far it is")
	return fleetCommand(p, cmd, func(ctx context.Context, cmd *cobra.Command, open opener) error {
		f, err := open(ctx)
		if err != nil {
			return err
		}
		m, err := f.leader()
		if err != nil {
			return err
		}
		if err := f.trust(); err != nil {
			return err
		}
		do := m.c.Rotate
		if status {
			do = f.rotation
		}
		r, err := ask(ctx, f, do)
		if errors.Is(err, client.ErrExists) {
			return errors.New("too many rotations are under way; wait for their end with: secretstore rotate --status --wait")
		}
		if err == nil && wait {
			r, err = f.awaitRotation(ctx, r)
		}
		if err != nil {
			return err
		}
		return f.finish(ctx, cmd, rotationSentence(r), func(s serversPart) any { return rotationDocument{r, s} })
	})
}

// rotationDocument is a rotation in JSON.
type rotationDocument struct {
	wire.Rotation
	serversPart
}

func rotationSentence(r wire.Rotation) string {
	switch r.State {
	case "idle":
		return fmt.Sprintf("Everything is encrypted with the data key of term %d.", r.Term)
	case "blocked":
		return fmt.Sprintf("New secrets are encrypted with the data key of term %d; %s", r.Term, damagedSentence(r.Damaged, r.DamagedRecord))
	}
	return fmt.Sprintf("New secrets are encrypted with the data key of term %d; %d of %d records are done. Look again with: secretstore rotate --status",
		r.Term, r.Done, r.Total)
}

// damagedSentence says what keeps a rotation from its end.
func damagedSentence(n int64, record string) string {
	return fmt.Sprintf("%d damaged record(s) keep the older data keys from leaving: restore or remove them (they are looked at again every minute); one is %s",
		n, oneLine(record))
}

// awaitRotation waits for the end of a rotation, asking whichever server
// answers. It gives up when none has for the time of a request, or damaged
// records keep the rotation from its end.
func (f *fleet) awaitRotation(ctx context.Context, r wire.Rotation) (wire.Rotation, error) {
	line := newProgress(f.p)
	defer line.end()
	answered := time.Now()
	for r.State != "idle" {
		if r.State == "blocked" {
			return r, errors.New(damagedSentence(r.Damaged, r.DamagedRecord))
		}
		line.show("%d of %d records are encrypted anew (term %d)", r.Done, r.Total, r.Term)
		pause(ctx, 300*time.Millisecond)
		if ctx.Err() != nil {
			return r, errors.New("the rotation goes on without you; look at it with: secretstore rotate --status")
		}
		next, err := f.rotation(ctx)
		if err == nil {
			r, answered = next, time.Now()
		} else if time.Since(answered) > f.timeout {
			return r, fmt.Errorf("the rotation cannot be watched any more: %w", err)
		}
	}
	return r, nil
}

// pollTime bounds one question about a rotation: of several servers one may
// hang, which must not hold up the rest.
const pollTime = 10 * time.Second

// rotation asks all servers. One that does not know the newest data key yet
// thinks that there is nothing to do, so that a rotation has ended only when all
// that answer say so.
func (f *fleet) rotation(ctx context.Context) (wire.Rotation, error) {
	states := make([]wire.Rotation, len(f.members))
	errs := make([]error, len(f.members))
	var all sync.WaitGroup
	for i, m := range f.members {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, min(f.timeout, pollTime))
			defer cancel()
			states[i], errs[i] = m.c.RotationStatus(ctx)
		})
	}
	all.Wait()
	best := -1
	for i, st := range states {
		if errs[i] == nil && (best < 0 || st.State != "idle" && states[best].State == "idle") {
			best = i
		}
	}
	if best < 0 {
		return wire.Rotation{}, errs[0]
	}
	return states[best], nil
}

// progress is a line on the terminal that is written over; elsewhere, nothing.
type progress struct {
	p  *Process
	on bool
}

func newProgress(p *Process) *progress {
	f, ok := p.Stderr.(*os.File)
	return &progress{p: p, on: ok && term.IsTerminal(int(f.Fd()))}
}

func (l *progress) show(format string, args ...any) {
	if l.on {
		fmt.Fprintf(l.p.Stderr, "\r\x1b[K"+format, args...)
	}
}

// bar shows how far something is that has an end.
func (l *progress) bar(done, total int) {
	const width = 30
	n := width * done / max(total, 1)
	l.show("[%s%s] %d of %d", strings.Repeat("#", n), strings.Repeat(" ", width-n), done, total)
}

func (l *progress) end() {
	if l.on {
		fmt.Fprint(l.p.Stderr, "\r\x1b[K")
	}
}
