package base

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// Confirm is the flag of commands that ask before they destroy something.
type Confirm struct{ yes bool }

// Register adds the flag.
func (c *Confirm) Register(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&c.yes, "yes", "y", false, "do not ask for confirmation")
}

// Ask puts the question to the user, and returns an error unless the answer is yes.
// Without a terminal, --yes has to be given.
func (c *Confirm) Ask(ctx context.Context, p *Process, question string) error {
	if c.yes {
		return nil
	}
	if _, ok := Terminal(p.Stdin); !ok {
		return Usagef("this needs confirmation, but standard input is not a terminal; add --yes")
	}
	fmt.Fprintf(p.Stderr, "%s [y/N] ", question)
	typed := make(chan string, 1)
	go func() {
		// If ctx ends first, this reads until the process ends, which it is about
		// to. After an error the line is not yes.
		line, _ := bufio.NewReader(p.Stdin).ReadString('\n')
		typed <- line
	}()
	select {
	case <-ctx.Done():
	case line := <-typed:
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return nil
		}
	}
	return errors.New("not confirmed; nothing was changed")
}
