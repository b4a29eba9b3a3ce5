package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/config"
	"secretstore/cmd/secretstore/internal/doctor"
	"secretstore/cmd/secretstore/internal/server"
)

func doctorCommand(p *base.Process) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor [--config FILE]",
		Short: "Find what is weak in the set-up of a server",
		Long: "doctor takes the configuration of a server (--config, the server's flags and its environment), looks at the\n" +
			"files that it names, at ZooKeeper and at running servers, and says what is weak and how to fix it. It\n" +
			"changes nothing. Run it on the server's machine as the server's user, beside the server or without one.\n\n" +
			"Running servers tell a superuser whether their memory can be read, dumped or swapped out, how their clocks\n" +
			"differ, and when holders' keys expire: name all servers with --server, and give a token with --token-file.\n" +
			"Without --server, doctor asks the server that the configuration describes. To each member of ZooKeeper,\n" +
			"doctor makes one connection that logs in as super:secret, the default superuser of DC/OS.\n\n" +
			"A finding is serious, a warning, or unknown: it could not be checked. The exit status is 1 if any finding is\n" +
			"serious, and 2 if the server would not start with this configuration. An exit status of 0 with unknown\n" +
			"findings does not say that the set-up is sound.",
		Example: "  sudo -u secretstore secretstore doctor --config /etc/secretstore/secretstore.yaml --token-file token\n" +
			"  secretstore doctor --config secretstore.yaml --server https://secrets1:8443 --server https://secrets2:8443\n" +
			"  secretstore doctor --config secretstore.yaml --json | jq -r '.findings[] | select(.severity == \"serious\").fix'",
		Args: base.NoArgs,
	}
	f := cmd.Flags()
	f.SortFlags = false
	var remote base.Remote
	remote.Register(cmd)
	flags := config.Register(f)
	cmd.RunE = base.Run(func(cmd *cobra.Command, _ []string) error {
		ctx, stop := base.SignalContext()
		defer stop()
		ctx, cancel := context.WithTimeout(ctx, remote.Timeout)
		defer cancel()
		cfg, problems := config.Load(flags, p.Getenv)
		if len(problems) > 0 {
			return config.Error(problems)
		}
		facts, err := gather(ctx, p, cfg, &remote)
		if err != nil {
			return err
		}
		return showFindings(p, doctor.Examine(facts), base.WantJSON(cmd))
	})
	return cmd
}

// gather gathers all facts. What is missing is among them.
func gather(ctx context.Context, p *base.Process, cfg config.Config, remote *base.Remote) (doctor.Facts, error) {
	f := doctor.Facts{Now: time.Now(), Config: cfg, PlainHTTP: cfg.Listen}
	servers, err := serversToAsk(p, cfg, remote, &f)
	if err != nil {
		return f, err
	}
	doctor.GatherServers(ctx, &f, servers)
	for _, s := range servers {
		s.Client.Close()
	}
	self := os.Geteuid()
	user, ok := f.LocalUser()
	if !ok {
		f.Machine, user = doctor.ThisMachine(), doctor.AnyUser
	}
	if self == 0 {
		self = user // root looks at files for the server
	}
	if cfg.Dev {
		return f, nil // it has files of its own
	}
	own := server.OwnFiles(cfg.Storage)
	doctor.GatherFiles(&f, self, own)
	doctor.GatherCertificates(&f, own)
	doctor.GatherDisks(&f)
	if cfg.Storage.Kind == config.ZooKeeper {
		gatherZooKeeper(ctx, &f)
	}
	return f, nil
}

func gatherZooKeeper(ctx context.Context, f *doctor.Facts) {
	zkConfig, err := server.ZooKeeperConfig(f.Config, zap.NewNop())
	if err != nil {
		f.Gaps = append(f.Gaps, doctor.Gap{Check: doctor.CheckZKAccess, Subject: f.Config.Storage.Root, Why: err.Error(),
			Fix: "fix that, or run this as the server's user, on its machine"})
		return
	}
	doctor.GatherZooKeeper(ctx, f, zkConfig)
}

// serversToAsk returns the servers that were named, or else the one that the
// configuration describes.
func serversToAsk(p *base.Process, cfg config.Config, remote *base.Remote, f *doctor.Facts) (all []doctor.Asked, err error) {
	urls, err := base.NamedServersOr(p, remote.Servers, ownURL(cfg))
	if err != nil {
		return nil, err
	}
	remote.Servers = urls // their token counts, if login got one
	common, err := remote.ClientConfig(p)
	if err != nil {
		return nil, err
	}
	for _, url := range urls {
		u, err := base.ParseServer(url)
		if err != nil {
			return nil, err
		}
		if u.Scheme == "http" && !config.IsLoopback(u.Hostname()) {
			f.Gaps = append(f.Gaps, doctor.Gap{Check: doctor.CheckServers, Subject: url,
				Why: "it is plain HTTP to another machine, which would expose the token", Fix: "name the server by its https URL, or run this on its machine"})
			continue
		}
		one := common
		one.Server = url
		c, err := client.New(one)
		if err != nil {
			return nil, base.Usagef("%v", err)
		}
		all = append(all, doctor.Asked{URL: url, Client: c, Here: config.IsLoopback(u.Hostname())})
	}
	return all, nil
}

// ownURL is where a server with this configuration serves people on its machine.
func ownURL(cfg config.Config) string {
	scheme, address := "http", cfg.Listen
	if address == "" {
		scheme, address = "https", cfg.TLSListen
	}
	host, port, _ := net.SplitHostPort(address) // checked when it was parsed
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// doctorReport is the output in JSON.
type doctorReport struct {
	Findings []doctor.Finding `json:"findings"` // never null
	Serious  int              `json:"serious"`
	Warnings int              `json:"warnings"`
	Unknown  int              `json:"unknown"`
}

func showFindings(p *base.Process, all []doctor.Finding, asJSON bool) error {
	r := doctorReport{all, doctor.Count(all, doctor.Serious), doctor.Count(all, doctor.Warning), doctor.Count(all, doctor.Unknown)}
	var err error
	if asJSON {
		err = base.PrintJSON(p.Stdout, r)
	} else {
		err = printFindings(p.Stdout, r)
	}
	if err == nil && r.Serious > 0 {
		err = errors.New("the set-up has serious weaknesses")
	}
	return err
}

// printFindings prints two lines for each finding: what is weak, and how to fix it.
func printFindings(w io.Writer, r doctorReport) error {
	var b strings.Builder
	for _, f := range r.Findings {
		about := slices.DeleteFunc([]string{f.Subject, f.Text}, func(s string) bool { return s == "" })
		fmt.Fprintf(&b, "%-8s %s: %s\n         fix: %s\n", strings.ToUpper(string(f.Severity)), f.Check, strings.Join(about, ": "), f.Fix)
	}
	fmt.Fprintf(&b, "%d serious, %d warnings, %d unknown\n", r.Serious, r.Warnings, r.Unknown)
	if r.Unknown > 0 {
		checks := "checks"
		if r.Unknown == 1 {
			checks = "check"
		}
		fmt.Fprintf(&b, "%d %s could not be made, so this does not say that the set-up is sound.\n", r.Unknown, checks)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
