package keys

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/fleet"
)

func rotateCommand(p *base.Process) *cobra.Command {
	var wait, status bool
	cmd := &cobra.Command{
		Use:   "rotate [--wait] | --status",
		Short: "Encrypt new secrets with a new data key, and the old ones anew",
		Long: "rotate adds a data key that all servers use for new writes at once. What is stored is encrypted anew in the\n" +
			"background, while reads and writes go on; when nothing is left under older keys, these are forgotten.\n" +
			"--wait waits for that." + fleet.LongHelp,
		Example: "  secretstore rotate --wait\n" +
			"  secretstore rotate --status",
		Args: base.NoArgs,
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until everything is encrypted anew")
	cmd.Flags().BoolVar(&status, "status", false, "only show how far it is")
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
		if errors.Is(err, client.ErrExists) {
			return errors.New("too many rotations are under way; wait for their end with: secretstore rotate --status --wait")
		}
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
	case "blocked":
		return fmt.Sprintf("New secrets are encrypted with the data key of term %d; %s", r.Term, damagedSentence(r.Damaged, r.DamagedRecord))
	}
	return fmt.Sprintf("New secrets are encrypted with the data key of term %d; %d of %d records are done. Look again with: secretstore rotate --status",
		r.Term, r.Done, r.Total)
}

// damagedSentence says what keeps a rotation from its end.
func damagedSentence(n int64, record string) string {
	return fmt.Sprintf("%d damaged record(s) keep the older data keys from leaving: restore or remove them (they are looked at again every minute); one is %s",
		n, base.OneLine(record))
}

// awaitRotation waits for the end of a rotation, asking whichever server
// answers. It gives up when none has for the time of a request, or damaged
// records keep the rotation from its end.
func awaitRotation(ctx context.Context, f *fleet.Fleet, r wire.Rotation) (wire.Rotation, error) {
	line := base.NewProgress(f.P)
	defer line.End()
	answered := time.Now()
	for r.State != "idle" {
		if r.State == "blocked" {
			return r, errors.New(damagedSentence(r.Damaged, r.DamagedRecord))
		}
		line.Show("%d of %d records are encrypted anew (term %d)", r.Done, r.Total, r.Term)
		pause(ctx, 300*time.Millisecond)
		if ctx.Err() != nil {
			return r, errors.New("the rotation goes on without you; look at it with: secretstore rotate --status")
		}
		next, err := rotation(ctx, f)
		if err == nil {
			r, answered = next, time.Now()
		} else if time.Since(answered) > f.Timeout {
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
