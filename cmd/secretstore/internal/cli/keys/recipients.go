package keys

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/cli/fleet"
)

// namesStay is what a new root key does not hide.
const namesStay = "Somebody who has an earlier key and an earlier copy of the storage can still read the names of secrets, old and new, in a new copy."

// showRecipients prints which live servers a new root key is handed over to. It is an
// error if some would be left out and may not be.
func (k *rekeying) showRecipients(ctx context.Context, leaveOut bool) error {
	found, err := fleet.Ask(ctx, k.f, k.at.Client.Recipients)
	if err != nil {
		return err
	}
	fmt.Fprint(k.f.P.Stderr, recipientsText(found))
	if len(found.LeftOut) > 0 && !leaveOut {
		return errors.New("some live servers would be left out, so nothing was changed; stop them, update them, or use --leave-out")
	}
	return nil
}

// rekeyRecipients shows who would get a new root key, and changes nothing.
func rekeyRecipients(ctx context.Context, cmd *cobra.Command, open fleet.Opener) error {
	k, err := openRekey(ctx, open)
	if err != nil {
		return err
	}
	found, err := fleet.Ask(ctx, k.f, k.at.Client.Recipients)
	if err != nil {
		return err
	}
	sentence := strings.TrimSuffix(recipientsText(found), "\n")
	if sentence == "" {
		sentence = "No other server can use this storage, so a new root key is not handed over."
	}
	return k.f.Finish(ctx, cmd, sentence, func(s fleet.ServersPart) any { return recipientsDocument{found, s} })
}

// recipientsDocument is the JSON output of rekey --recipients.
type recipientsDocument struct {
	wire.Recipients
	fleet.ServersPart
}

// recipientsText describes the live servers. Names come from the storage.
func recipientsText(found wire.Recipients) string {
	var b strings.Builder
	list := func(head string, peers []wire.Peer) {
		if len(peers) == 0 {
			return
		}
		fmt.Fprintln(&b, head)
		for _, p := range peers {
			fmt.Fprintln(&b, "  "+peerText(p))
		}
	}
	list("A new root key goes to these servers. Each of them must be yours:", found.Recipients)
	list("These live servers do not get it, and will seal:", found.LeftOut)
	list("These servers are sealed. They will need the new unseal key, and a restart if they were unsealed before:", found.Sealed)
	return b.String()
}

func peerText(p wire.Peer) string {
	text := base.OneLine(p.Name) + ", id " + base.OneLine(p.ID)
	if p.Self {
		text += " (asked)"
	}
	if p.Problem != "" {
		text += ": " + base.OneLine(p.Problem)
	}
	return text
}

// rotatedText is what is said about a new root key that is in effect.
func rotatedText(state wire.Rekey) string {
	text := "\n"
	if len(state.Recipients) > 0 {
		var to []string
		for _, p := range state.Recipients {
			to = append(to, base.OneLine(p.Name))
		}
		text += "These servers have the new root key: " + strings.Join(to, "; ") + "\n"
	}
	for _, p := range state.LeftOut {
		text += "Left out: " + peerText(p) + "\n"
	}
	return text + namesStay
}
