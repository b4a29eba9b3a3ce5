package keys

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/fleet"
	"secretstore/cmd/secretstore/internal/cli/gpg"
)

// holderFlags name the holders of a new unseal key.
type holderFlags struct {
	files     []string
	threshold int
}

func (h *holderFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&h.files, "pgp-key", nil, "`FILE` with the public key of a holder, one for each (- is standard input)")
	cmd.Flags().IntVar(&h.threshold, "threshold", 0, "how many holders it takes (default more than half: 1 of 1, 2 of 2, 2 of 3, 3 of 5)")
}

// read returns the keys and the threshold.
func (h *holderFlags) read(cmd *cobra.Command, p *base.Process) (keys []string, threshold int, err error) {
	n := len(h.files)
	if n == 0 {
		return nil, 0, base.Usagef("name the public key of each holder with --pgp-key FILE, which is what gpg --export prints")
	}
	threshold = h.threshold
	if !cmd.Flags().Changed("threshold") {
		threshold = majority(n)
	}
	if threshold < 1 || threshold > n {
		return nil, 0, base.Usagef("--threshold must be from 1 to the number of keys, %d", n)
	}
	keys, err = base.ReadPublicKeys(p, h.files)
	return keys, threshold, err
}

type initFlags struct {
	holders                 holderFlags
	gpg                     string
	noVerify, wait, replace bool
}

func initCommand(p *base.Process) *cobra.Command {
	var flags initFlags
	cmd := &cobra.Command{
		Use:   "init --pgp-key FILE... [--threshold T] [--replace]",
		Short: "Initialise an empty store for the holders of GPG keys",
		Long: "init makes the keys of an empty store. The unseal key is split into a share for each holder, and printed\n" +
			"only encrypted to them; anybody may see it in this form. FILE is what gpg --export prints: binary, armored\n" +
			"or in base64. --threshold holders together unseal the store, by default more than half of them.\n\n" +
			"Before it reports success, the gpg on this machine decrypts what it can, and the store is unsealed: a store\n" +
			"that nobody can open should be found out while it is empty. With holders elsewhere use --wait, while\n" +
			"each of them runs secretstore unseal, or --no-verify.\n\n" +
			"If it cannot be opened, init offers to start over with other keys, as --replace does: for whoever did the\n" +
			"init, on the same server, within 15 minutes, and while nobody has unsealed the store." + fleet.LongHelp,
		Example: "  gpg --export alice@example.com > alice.pub\n" +
			"  secretstore init --pgp-key alice.pub\n" +
			"  secretstore init --pgp-key alice.pub --pgp-key bob.pub --pgp-key carol.pub --threshold 2 --wait\n" +
			"  secretstore init --replace --pgp-key alice-new.pub     # the key of before cannot be had",
		Args: base.NoArgs,
	}
	flags.holders.register(cmd)
	f := cmd.Flags()
	f.StringVar(&flags.gpg, "gpg", "gpg", "the GnuPG `PROGRAM`")
	f.BoolVar(&flags.noVerify, "no-verify", false, "leave the store sealed, and do not try whether the holders can open it")
	f.BoolVar(&flags.wait, "wait", false, "wait until holders elsewhere have entered what is missing")
	f.BoolVar(&flags.replace, "replace", false, "do the init of a moment ago over, whose keys nobody has used yet")
	return fleet.Command(p, cmd, func(ctx context.Context, cmd *cobra.Command, open fleet.Opener) error {
		keys, threshold, err := flags.holders.read(cmd, p)
		if err != nil {
			return err
		}
		f, err := open(ctx)
		if err != nil {
			return err
		}
		req := wire.InitRequest{Shares: len(keys), Threshold: threshold, PGPKeys: keys}
		if flags.replace {
			if req.Replace, err = lastInit(ctx, f); err != nil {
				return err
			}
		}
		return flags.run(ctx, cmd, f, req)
	})
}

// run initialises and verifies, again for as long as a person at a terminal
// wants to start over.
func (i *initFlags) run(ctx context.Context, cmd *cobra.Command, f *fleet.Fleet, req wire.InitRequest) error {
	for {
		res, err := initialise(ctx, f, req)
		if err != nil {
			return err
		}
		var sealed error
		if !i.noVerify {
			sealed = verifyInit(ctx, f, gpg.Holder{P: f.P, Program: i.gpg}, res, req.Threshold, i.wait)
		}
		var next *wire.InitRequest
		if sealed != nil && ctx.Err() == nil && !base.WantJSON(cmd) {
			if next, err = i.holders.another(f.P, sealed); err != nil {
				return err
			}
		}
		if next == nil {
			return errors.Join(finishInit(ctx, f, cmd, res, i.noVerify), sealed)
		}
		req, req.Replace = *next, res.Keys[0]
	}
}

// another offers a person at a terminal to start over with other holders. It
// returns nil where nobody is there, or they do not want to.
func (h *holderFlags) another(p *base.Process, why error) (*wire.InitRequest, error) {
	if _, ok := base.Terminal(p.Stdin); !ok {
		return nil, nil
	}
	fmt.Fprintf(p.Stderr, "secretstore: %v\n", why)
	for {
		fmt.Fprint(p.Stderr, "To start over now, type the FILE with the public key of each holder, separated by spaces;\n"+
			"to leave it as it is, press Enter: ")
		line, err := readLine(p.Stdin)
		if err != nil {
			return nil, fmt.Errorf("read the answer: %w", err)
		}
		files := strings.Fields(line)
		if len(files) == 0 {
			return nil, nil
		}
		keys, err := base.ReadPublicKeys(p, files)
		if err != nil {
			fmt.Fprintf(p.Stderr, "secretstore: %v\n", err)
			continue
		}
		req := &wire.InitRequest{Shares: len(keys), Threshold: majority(len(keys)), PGPKeys: keys}
		if len(files) == len(h.files) && h.threshold > 0 {
			req.Threshold = h.threshold
		}
		return req, nil
	}
}

// readLine reads up to the end of a line, a byte at a time: what follows is for
// the next question.
func readLine(r io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); len(line) < 4096; {
		switch _, err := io.ReadFull(r, b); {
		case errors.Is(err, io.EOF), err == nil && b[0] == '\n':
			return string(line), nil
		case err != nil:
			return "", err
		}
		line = append(line, b[0])
	}
	return "", errors.New("the line is too long")
}

// lastInit returns what names the init that is to be done over.
func lastInit(ctx context.Context, f *fleet.Fleet) (string, error) {
	m, err := f.Leader()
	if err != nil {
		return "", err
	}
	if err := f.Trust(); err != nil {
		return "", err
	}
	wrapped, err := encryptedShares(ctx, f, m)
	if err != nil {
		return "", err
	}
	return wrapped[0], nil
}

// initialise makes the keys on one server and waits until the others see them.
func initialise(ctx context.Context, f *fleet.Fleet, req wire.InitRequest) (wire.InitResult, error) {
	m, err := f.Leader()
	if err != nil {
		return wire.InitResult{}, err
	}
	if err := f.Trust(); err != nil {
		return wire.InitResult{}, err
	}
	at := []*fleet.Member{m}
	if req.Replace != "" {
		// Only the server that did the init takes it back, whichever that was.
		if at, err = f.Answering(); err != nil {
			return wire.InitResult{}, err
		}
	}
	var res wire.InitResult
	for _, m := range at {
		res, err = fleet.Ask(ctx, f, func(ctx context.Context) (wire.InitResult, error) { return m.Client.Init(ctx, req) })
		if !errors.Is(err, client.ErrBadRequest) {
			break
		}
	}
	if err == nil && (len(res.Keys) != len(req.PGPKeys) || len(res.Fingerprints) != len(res.Keys)) {
		err = errors.New("the server answers with another number of keys than it was asked for; is it a Secret Store?")
	}
	if err != nil {
		return wire.InitResult{}, err
	}
	settle(ctx, f)
	return res, f.Trust()
}

// settleTime is how long a server may take to see what another has done.
const settleTime = 10 * time.Second

// settle looks at the servers until all that answer see one store.
func settle(ctx context.Context, f *fleet.Fleet) {
	for until := time.Now().Add(settleTime); ; pause(ctx, 100*time.Millisecond) {
		f.Look(ctx)
		missing := false
		for _, m := range f.Members {
			missing = missing || m.Err == nil && m.UUID() == ""
		}
		if !missing || time.Now().After(until) || ctx.Err() != nil {
			return
		}
	}
}

// pause waits, or returns when the context ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// verifyInit unseals the new store. Its error says what is left to do.
func verifyInit(ctx context.Context, f *fleet.Fleet, h gpg.Holder, res wire.InitResult, threshold int, wait bool) error {
	var mine []string
	opened, err := h.Each(ctx, res.Keys, func(share string) (bool, error) {
		mine = append(mine, share)
		return enter(ctx, f, share)
	})
	failed := f.Failure()
	f.Look(ctx)
	if f.Unsealed() {
		return nil
	}
	if wait && ctx.Err() == nil {
		fmt.Fprintf(h.P.Stderr, "The store is initialised and still sealed: %d of %d shares are here. Waiting for the other holders, "+
			"who run: secretstore unseal\n", opened, threshold)
		return awaitHolders(ctx, f, mine)
	}
	text := []string{fmt.Sprintf("the store is initialised, but nobody has shown yet that it can be opened: %d of the %d shares that it takes are here", opened, threshold)}
	if err != nil {
		text = append(text, err.Error())
	} else if failed != nil {
		text = append(text, failed.Error())
	}
	text = append(text, "Where the private keys are, run: secretstore unseal\n"+
		"Nothing is stored yet. If the keys cannot be had, start over, within 15 minutes:\n"+
		"  secretstore init --replace --pgp-key FILE\n"+
		"or later, with the servers stopped:\n"+
		"  secretstore reinit --wipe --no-backup --storage URL --pgp-key FILE")
	return errors.New(strings.Join(text, "\n"))
}

// awaitHolders waits until other holders have unsealed the store. It enters the
// shares that are here again when a server has forgotten them, as it does after
// a quarter of an hour, and after a wrong attempt.
func awaitHolders(ctx context.Context, f *fleet.Fleet, mine []string) error {
	for {
		pause(ctx, time.Second)
		if ctx.Err() != nil {
			return errors.New("nobody waits any more; the other holders can still run: secretstore unseal")
		}
		f.Look(ctx)
		if f.Unsealed() {
			return nil
		}
		for _, share := range mine {
			if forgotten(f, len(mine)) {
				if _, err := enter(ctx, f, share); err != nil {
					return err
				}
			}
		}
	}
}

// forgotten reports whether a sealed server has fewer shares than were entered.
func forgotten(f *fleet.Fleet, entered int) bool {
	for _, m := range f.Members {
		if m.Err == nil && m.Seal.Sealed && m.Seal.Progress < entered {
			return true
		}
	}
	return false
}

func finishInit(ctx context.Context, f *fleet.Fleet, cmd *cobra.Command, res wire.InitResult, noVerify bool) error {
	if !base.WantJSON(cmd) {
		for i, key := range res.Keys {
			fmt.Fprintf(f.P.Stdout, "Unseal key for %s:\n%s\n", base.OneLine(res.Fingerprints[i]), base.OneLine(key))
		}
	}
	f.Look(ctx)
	sentence := "The store is initialised and unsealed."
	if noVerify {
		sentence = "The store is initialised and sealed. Next, where the private keys are: secretstore unseal"
	} else if !f.Unsealed() {
		sentence = "The store is initialised and sealed."
	}
	return f.Show(cmd, sentence+" The encrypted keys above can be had again from the server.", func(s fleet.ServersPart) any {
		return struct {
			wire.InitResult
			fleet.ServersPart
		}{res, s}
	})
}

// majority is the threshold where none is named: one holder alone, else more
// than half of them, so that no two groups can act apart.
func majority(shares int) int { return shares/2 + 1 }
