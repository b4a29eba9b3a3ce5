package keys

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
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
	cmd.Flags().StringSliceVar(&h.files, "pgp-key", nil, "`FILE` with the public key of a holder (- is standard input; repeatable)")
	cmd.Flags().IntVar(&h.threshold, "threshold", 0, "`T` holders can unseal together (default: more than half)")
}

// read returns the keys and the threshold.
func (h *holderFlags) read(cmd *cobra.Command, p *base.Process) (keys []string, threshold int, err error) {
	n := len(h.files)
	if n == 0 {
		return nil, 0, base.Usagef("name the public key of each holder, made by gpg --export, with --pgp-key FILE")
	}
	threshold = h.threshold
	if !cmd.Flags().Changed("threshold") {
		threshold = majority(n)
	}
	if threshold < 1 || threshold > n {
		return nil, 0, base.Usagef("--threshold must be from 1 to the number of keys, %d", n)
	}
	keys, err = base.ReadHolders(p, h.files)
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
		Short: "Initialize a store for the holders of GPG keys",
		Long: "init makes the keys of an empty store. It splits the unseal key into a share for each holder and prints\n" +
			"the shares, each encrypted to its holder. In this form, anybody may see them. FILE is the output of gpg\n" +
			"--export: binary, armored or in base64. Any --threshold holders can unseal the store together, by\n" +
			"default more than half of them.\n\n" +
			"init then has the gpg on this machine decrypt the shares that it can, and unseals the store, so that you\n" +
			"learn while it is empty if nobody can unseal it. If other holders are needed, the first line of the output\n" +
			"begins with \"PENDING:\", the next ones say who must run secretstore unseal, and the exit\n" +
			"status is 0. --wait waits for them. --json has \"pending\" instead.\n\n" +
			"If the store cannot be unsealed, init offers to start over with other keys, as --replace does. Only the\n" +
			"user who ran init can do that, on the same server, within 15 minutes, and before anybody has unsealed\n" +
			"the store." + fleet.LongHelp,
		Example: "  gpg --export alice@example.com > alice.pub\n" +
			"  secretstore init --pgp-key alice.pub\n" +
			"  secretstore init --pgp-key alice.pub --pgp-key bob.pub --pgp-key carol.pub --threshold 2 --wait\n" +
			"  secretstore init --replace --pgp-key alice-new.pub     # the first key is lost",
		Args: base.NoArgs,
	}
	flags.holders.register(cmd)
	f := cmd.Flags()
	f.StringVar(&flags.gpg, "gpg", "gpg", "the GnuPG `PROGRAM`")
	f.BoolVar(&flags.noVerify, "no-verify", false, "leave the store sealed, and do not check that the holders can unseal it")
	f.BoolVar(&flags.wait, "wait", false, "wait until other holders have entered the missing shares")
	f.BoolVar(&flags.replace, "replace", false, "replace the last init, whose keys nobody has used yet")
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

// run initializes and verifies, and starts over as often as a user at a terminal
// wants to.
func (i *initFlags) run(ctx context.Context, cmd *cobra.Command, f *fleet.Fleet, req wire.InitRequest) error {
	for {
		res, err := initialize(ctx, f, req)
		if err != nil {
			return err
		}
		var entered []int
		var unverified error
		if !i.noVerify {
			entered, unverified = verifyInit(ctx, f, gpg.Holder{P: f.P, Program: i.gpg}, res, req.Threshold, i.wait)
		}
		var next *wire.InitRequest
		if unverified != nil && ctx.Err() == nil && !base.WantJSON(cmd) {
			if next, err = i.holders.another(f.P, unverified); err != nil {
				return err
			}
		}
		if next == nil {
			if errors.Is(unverified, gpg.ErrNoKey) {
				unverified = nil // the holders are elsewhere
			}
			return errors.Join(finishInit(ctx, f, cmd, res, req.Threshold, entered), unverified)
		}
		req, req.Replace = *next, res.Keys[0]
	}
}

// another offers a user at a terminal to start over with other holders. It returns
// nil if standard input is not a terminal or the user declines.
func (h *holderFlags) another(p *base.Process, why error) (*wire.InitRequest, error) {
	if _, ok := base.Terminal(p.Stdin); !ok {
		return nil, nil
	}
	fmt.Fprintf(p.Stderr, "secretstore: %v\n", why)
	for {
		fmt.Fprint(p.Stderr, "To start over now, type the FILE with the public key of each holder, separated by spaces;\n"+
			"to leave the store as it is, press Enter: ")
		line, err := readLine(p.Stdin)
		if err != nil {
			return nil, fmt.Errorf("read the answer: %w", err)
		}
		files := strings.Fields(line)
		if len(files) == 0 {
			return nil, nil
		}
		keys, err := base.ReadHolders(p, files)
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

// readLine reads one line, a byte at a time: the rest is for the next question.
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

// lastInit returns the key that identifies the init to replace.
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

// initialize makes the keys on one server and waits until the others see them.
func initialize(ctx context.Context, f *fleet.Fleet, req wire.InitRequest) (wire.InitResult, error) {
	m, err := f.Leader()
	if err != nil {
		return wire.InitResult{}, err
	}
	if err := f.Trust(); err != nil {
		return wire.InitResult{}, err
	}
	at := []*fleet.Member{m}
	if req.Replace != "" {
		// Only the server that did the init can replace it.
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
		err = errors.New("the server returned a wrong number of keys; is it a Secret Store?")
	}
	if err != nil {
		return wire.InitResult{}, err
	}
	settle(ctx, f)
	return res, f.Trust()
}

// settleTime is how long a server may take to see a change by another one.
const settleTime = 10 * time.Second

// settle waits until all servers that answer see the store.
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

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// verifyInit unseals the new store, or enters at least the shares that it can, and
// returns the indexes of these. Its error is gpg.ErrNoKey if all holders are
// elsewhere.
func verifyInit(ctx context.Context, f *fleet.Fleet, h gpg.Holder, res wire.InitResult, threshold int, wait bool) (entered []int, err error) {
	var mine []string
	_, err = h.Each(ctx, res.Keys, func(i int, share string) (bool, error) {
		entered, mine = append(entered, i), append(mine, share)
		_, done, err := enter(ctx, f, share)
		return done, err
	})
	if failed := f.Failure(); failed != nil {
		err = failed
	}
	f.Look(ctx)
	switch {
	case f.Unsealed():
		return entered, nil
	case wait && ctx.Err() == nil:
		fmt.Fprintf(h.P.Stderr, "The store is initialized and still sealed: %d of %d shares entered. Waiting for the other holders, "+
			"who run: secretstore unseal\n", len(entered), threshold)
		return entered, awaitHolders(ctx, f, mine)
	case err != nil:
		return entered, fmt.Errorf("the store is initialized, but not verified: %w", err)
	}
	return entered, nil
}

// awaitHolders waits until other holders have unsealed the store. It enters its own
// shares again when a server has forgotten them, as it does after 15 minutes and
// after a wrong attempt.
func awaitHolders(ctx context.Context, f *fleet.Fleet, mine []string) error {
	for {
		pause(ctx, time.Second)
		if ctx.Err() != nil {
			return errors.New("stopped waiting; the other holders can still run: secretstore unseal")
		}
		f.Look(ctx)
		if f.Unsealed() {
			return nil
		}
		for _, share := range mine {
			if forgotten(f, len(mine)) {
				if _, _, err := enter(ctx, f, share); err != nil {
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

// finishInit prints the encrypted keys, and who else has to unseal the store.
func finishInit(ctx context.Context, f *fleet.Fleet, cmd *cobra.Command, res wire.InitResult, threshold int, entered []int) error {
	f.Look(ctx)
	var wait pending
	sentence := "The store is initialized and unsealed."
	if !f.Unsealed() {
		sentence = "The store is initialized and sealed."
		wait = pending{
			Text:    fmt.Sprintf("the store is initialized and sealed; %d of %d shares are entered", len(entered), threshold),
			Missing: holdersBut(ctx, f, res.Fingerprints, entered),
			more:    threshold - len(entered),
			who:     "holders",
			command: "secretstore unseal",
			advice: "Nothing is stored yet. If the keys are lost, start over within 15 minutes:\n" +
				"  secretstore init --replace --pgp-key FILE\n" +
				"or later, with the servers stopped:\n" +
				"  secretstore reinit --wipe --no-backup --storage URL --pgp-key FILE",
		}
	}
	if !base.WantJSON(cmd) {
		if text := wait.String(); text != "" {
			fmt.Fprintln(f.P.Stdout, text)
		}
		for i, key := range res.Keys {
			fmt.Fprintf(f.P.Stdout, "Unseal key for %s:\n%s\n", base.OneLine(res.Fingerprints[i]), base.OneLine(key))
		}
	}
	err := f.Show(cmd, sentence+" The server keeps the encrypted keys above.", func(s fleet.ServersPart) any {
		return struct {
			wire.InitResult
			pending
			fleet.ServersPart
		}{res, wait, s}
	})
	if text := wait.String(); err == nil && text != "" && !base.WantJSON(cmd) {
		// The keys have pushed it off the screen.
		_, err = fmt.Fprintf(f.P.Stdout, "\n%s\n", text)
	}
	return err
}

// holdersBut names the holders whose indexes are not in done. A server that does not
// describe them leaves out their user ids.
func holdersBut(ctx context.Context, f *fleet.Fleet, fingerprints []string, done []int) (names []wire.HolderName) {
	described := make(map[string]string)
	if m, err := f.Leader(); err == nil {
		keys, _ := fleet.Ask(ctx, f, m.Client.Keys)
		for _, h := range keys.Holders {
			described[h.Fingerprint] = h.UserID
		}
	}
	for i, fingerprint := range fingerprints {
		if !slices.Contains(done, i) {
			names = append(names, wire.HolderName{Fingerprint: fingerprint, UserID: described[fingerprint]})
		}
	}
	return names
}

// majority is the default threshold: one holder, or more than half of several, so
// that no two groups can act independently.
func majority(shares int) int { return shares/2 + 1 }
