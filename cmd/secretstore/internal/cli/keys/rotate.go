package keys

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/fleet"
)

func rotateCommand(p *base.Process) *cobra.Command {
	var wait, status bool
	cmd := &cobra.Command{
		Use:   "rotate [--wait] | --status",
		Short: "Make a new data key and re-encrypt all secrets with it",
		Long: "rotate adds a data key, which all servers use for new writes at once. In the background, the servers\n" +
			"re-encrypt what is stored, while reads and writes continue. When nothing is left under older keys, these\n" +
			"are removed. --wait waits for that." + fleet.LongHelp,
		Example: "  secretstore rotate --wait\n" +
			"  secretstore rotate --status",
		Args: base.NoArgs,
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until everything is re-encrypted")
	cmd.Flags().BoolVar(&status, "status", false, "only show the progress")
	return fleet.Command(p, cmd, func(ctx context.Context, cmd *cobra.Command, open fleet.Opener) error {
		f, err := open(ctx)
		if err != nil {
			return err
		}
		m, err := f.Leader()
		if err != nil {
			return err
		}
		if err := f.Trust(); err != nil {
			return err
		}
		do := m.Client.Rotate
		if status {
			do = func(ctx context.Context) (wire.Rotation, error) { return rotation(ctx, f) }
		}
		r, err := fleet.Ask(ctx, f, do)
		if err == nil && wait {
			r, err = awaitRotation(ctx, f, r)
		}
		if err != nil {
			return err
		}
		return f.Finish(ctx, cmd, rotationSentence(r), func(s fleet.ServersPart) any { return rotationDocument{r, s} })
	})
}

// rotationDocument is a rotation in JSON.
type rotationDocument struct {
	wire.Rotation
	fleet.ServersPart
}

func rotationSentence(r wire.Rotation) string {
	switch r.State {
	case "idle":
		return fmt.Sprintf("Everything is encrypted with the data key of term %d.", r.Term)
	case stuck:
		return fmt.Sprintf("New secrets are encrypted with the data key of term %d; %s", r.Term, stuckSentence(r))
	}
	if r.Counting {
		return fmt.Sprintf("New secrets are encrypted with the data key of term %d; the records are not counted yet. See: secretstore rotate --status", r.Term)
	}
	return fmt.Sprintf("New secrets are encrypted with the data key of term %d; %d of %d records are done. See: secretstore rotate --status",
		r.Term, r.Done, r.Total)
}

// stuck is the state of a rotation that cannot finish.
const stuck = "stuck"

// stuckSentence says why a rotation cannot finish.
func stuckSentence(r wire.Rotation) string {
	return "the rotation is stuck, and is tried again every minute: " + base.OneLine(r.Reason)
}

// awaitRotation waits for the end of a rotation. It gives up if no server answers for
// the time of a request, or if the rotation is stuck.
func awaitRotation(ctx context.Context, f *fleet.Fleet, r wire.Rotation) (wire.Rotation, error) {
	line := base.NewProgress(f.P)
	defer line.End()
	answered := time.Now()
	for r.State != "idle" {
		if r.State == stuck {
			return r, errors.New(stuckSentence(r))
		}
		if r.Counting {
			line.Show("counting the records (term %d)", r.Term)
		} else {
			line.Show("%d of %d records re-encrypted (term %d)", r.Done, r.Total, r.Term)
		}
		pause(ctx, 300*time.Millisecond)
		if ctx.Err() != nil {
			return r, errors.New("stopped waiting; the rotation continues, see: secretstore rotate --status")
		}
		next, err := rotation(ctx, f)
		if err == nil {
			r, answered = next, time.Now()
		} else if time.Since(answered) > f.Timeout {
			return r, fmt.Errorf("no server answers any longer: %w", err)
		}
	}
	return r, nil
}

// pollTime limits one request for the status of a rotation, so that a server that
// hangs does not hold up the others.
const pollTime = 10 * time.Second

// rotation asks all servers for the status. A server that does not know the newest
// data key yet reports that there is nothing to do, so a rotation has ended only when
// all servers that answer say so.
func rotation(ctx context.Context, f *fleet.Fleet) (wire.Rotation, error) {
	states := make([]wire.Rotation, len(f.Members))
	errs := make([]error, len(f.Members))
	var all sync.WaitGroup
	for i, m := range f.Members {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, min(f.Timeout, pollTime))
			defer cancel()
			states[i], errs[i] = m.Client.RotationStatus(ctx)
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
