// Command secretstore is a Secret Store: "secretstore server" runs the service,
// all other subcommands are its client.
package main

import (
	"io"
	"os"

	"secretstore/cmd/secretstore/internal/cli"
	"secretstore/cmd/secretstore/internal/cli/base"
)

func main() { os.Exit(Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// Main runs the program with the environment and working directory of the
// process, and returns its exit status.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return cli.Main(process(args, stdin, stdout, stderr))
}

func process(args []string, stdin io.Reader, stdout, stderr io.Writer) base.Process {
	return base.Process{Args: args, Stdin: stdin, Stdout: stdout, Stderr: stderr, Getenv: os.Getenv}
}
