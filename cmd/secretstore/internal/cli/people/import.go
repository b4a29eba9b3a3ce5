package people

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/config"
	"secretstore/iam"
	"secretstore/store"
	"secretstore/store/zk"
)

const (
	// dcosUsers is the znode of open DC/OS whose children are the uids of its users.
	dcosUsers = "/dcos/users"
	// dcosProvider is the provider at which users of open DC/OS signed in.
	dcosProvider = "https://dcos.auth0.com/"
)

// imported is what import did, or would do.
type imported struct {
	DryRun   bool      `json:"dry_run,omitempty"`
	Created  []string  `json:"created"`
	Existing []string  `json:"existing"`
	Refused  []refusal `json:"refused"`
}

// refusal is a name that no account was made for.
type refusal struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// userSource is where import reads the names.
type userSource struct {
	from, auth string // zk://… or FILE, and FILE
}

func importUsers(p *base.Process) *cobra.Command {
	var from userSource
	var dryRun bool
	provider := dcosProvider
	cmd := &cobra.Command{Use: "import --dcos-users SOURCE", Short: "Create accounts for the users of open DC/OS",
		Long: "import creates an account for each user of open DC/OS. The users are the znodes below /dcos/users, whose names\n" +
			"are e-mail addresses. SOURCE is zk://HOST:PORT,HOST:PORT, or a file with a dump of the znodes: a line\n" +
			"{\"path\":\"/dcos/users/NAME\"} for each. The accounts have no password and no grants. --provider is the OpenID\n" +
			"Connect provider that signs them in, which the server must have.\n\n" +
			"Accounts that exist stay as they are. Names that cannot be accounts are listed, and the exit status is 1.\n" +
			"With --dry-run nothing is written.",
		Example: "  secretstore iam import --dcos-users zk://10.0.0.1:2181 --provider corp --dry-run\n" +
			"  secretstore iam import --dcos-users znodes.json",
		Args: base.NoArgs}
	f := cmd.Flags()
	f.StringVar(&from.from, "dcos-users", "", "`SOURCE` of the users: zk://HOST:PORT, or a file")
	f.StringVar(&from.auth, "zk-auth-file", "", "`FILE` with user:password for that ZooKeeper")
	f.StringVar(&provider, "provider", provider, "`ID` or issuer of the OpenID Connect provider")
	f.BoolVar(&dryRun, "dry-run", false, "say what would be done, and write nothing")
	base.Required(cmd, "dcos-users")
	return remote(p, cmd, func(ctx context.Context, c *client.Client, cmd *cobra.Command, _ []string) error {
		names, err := from.names(ctx, p)
		if err != nil {
			return err
		}
		if err := checkProvider(ctx, c, provider); err != nil {
			return err
		}
		done, err := importNames(ctx, c, names, provider, dryRun)
		if base.WantJSON(cmd) {
			return errors.Join(base.PrintJSON(p.Stdout, done), err)
		}
		done.print(p)
		return err
	})
}

// names returns the names of the users, in order.
func (s *userSource) names(ctx context.Context, p *base.Process) (names []string, err error) {
	if strings.HasPrefix(s.from, "zk:") {
		names, err = s.fromZooKeeper(ctx, p)
	} else if s.auth != "" {
		return nil, base.Usagef("--zk-auth-file is for zk://HOST:PORT")
	} else {
		names, err = s.fromDump(p)
	}
	slices.Sort(names)
	return slices.Compact(names), err
}

func (s *userSource) fromDump(p *base.Process) ([]string, error) {
	data, err := base.ReadText(p, s.from)
	if err != nil {
		return nil, err
	}
	names, err := usersInDump(data)
	if err != nil {
		return nil, base.Usagef("%s: %v", s.from, err)
	}
	return names, nil
}

func (s *userSource) fromZooKeeper(ctx context.Context, p *base.Process) ([]string, error) {
	at, err := config.ParseStorage(s.from)
	if err != nil {
		return nil, base.Usagef("--dcos-users: %v", err)
	}
	znode := dcosUsers
	if strings.Count(strings.TrimSuffix(s.from, "/"), "/") > 2 {
		znode = at.Root
	}
	cfg := zk.Config{Servers: at.Servers, Root: znode}
	if s.auth != "" {
		if cfg.User, cfg.Password, err = base.ReadLogin(p, "--zk-auth-file", s.auth); err != nil {
			return nil, err
		}
	}
	reader, err := zk.NewReader(cfg)
	if err != nil {
		return nil, base.Usagef("--dcos-users: %v", err)
	}
	defer reader.Close()
	folder, err := reader.Folder(ctx, znode)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, fmt.Errorf("ZooKeeper has no znode %s", znode)
	case errors.Is(err, zk.ErrDenied):
		return nil, fmt.Errorf("%w: %s; give its user with --zk-auth-file", err, znode)
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", znode, err)
	}
	return folder.Children, nil
}

var (
	errDump    = errors.New(`each line must be a znode, as {"path":"/dcos/users/alice@example.com"}`)
	errNoUsers = errors.New("it has no znode below " + dcosUsers)
)

// usersInDump returns the names of the znodes directly below /dcos/users in a dump.
func usersInDump(data []byte) (names []string, err error) {
	for line := range bytes.Lines(data) {
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var znode struct {
			Path string `json:"path"`
		}
		if json.Unmarshal(line, &znode) != nil || !strings.HasPrefix(znode.Path, "/") {
			return nil, errDump
		}
		name, ok := strings.CutPrefix(znode.Path, dcosUsers+"/")
		if ok && name != "" && !strings.Contains(name, "/") {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, errNoUsers
	}
	return names, nil
}

// emailForm is how open DC/OS knows an e-mail address.
var emailForm = regexp.MustCompile(`^[^@]+@[^@]+\.[^@]+$`)

// checkName says why a name cannot be an account.
func checkName(name string) error {
	if _, err := iam.ParseUID(name); err != nil {
		return err
	}
	if !emailForm.MatchString(name) {
		return errors.New("it is not an e-mail address, so no provider signs it in")
	}
	return nil
}

// checkProvider refuses the id or issuer of a provider that the server does not have:
// no one could sign in to the accounts.
func checkProvider(ctx context.Context, c *client.Client, provider string) error {
	all, err := c.Identities().OIDCProviders(ctx)
	if err != nil {
		return err
	}
	var known []string
	for id, p := range all {
		if provider == id || provider == p.Issuer {
			return nil
		}
		known = append(known, base.OneLine(id+" ("+p.Issuer+")"))
	}
	if len(known) == 0 {
		return base.Usagef("the server has no identity provider; create %q first", provider)
	}
	slices.Sort(known)
	return base.Usagef("the server has no identity provider %q; add --provider and one of: %s", provider, strings.Join(known, ", "))
}

// importNames creates the accounts. It stops at an error that is not about one of them.
func importNames(ctx context.Context, c *client.Client, names []string, provider string, dryRun bool) (*imported, error) {
	done := &imported{DryRun: dryRun, Created: []string{}, Existing: []string{}, Refused: []refusal{}}
	exists := make(map[string]bool)
	for _, services := range []bool{false, true} {
		users, err := c.Identities().Users(ctx, services)
		if err != nil {
			return done, err
		}
		for _, u := range users {
			exists[u.UID] = true
		}
	}
	kind := string(iam.OIDC)
	for _, name := range names {
		if err := checkName(name); err != nil {
			done.Refused = append(done.Refused, refusal{name, err.Error()})
			continue
		}
		var err error
		if !exists[name] && !dryRun {
			err = c.Identities().CreateUser(ctx, name, wire.UserCreate{ProviderType: &kind, ProviderID: &provider})
		}
		refused, ofServer := errors.AsType[*client.Error](err)
		switch {
		case exists[name], hasCode(err, "ERR_USER_EXISTS"):
			done.Existing = append(done.Existing, name)
		case err == nil:
			done.Created = append(done.Created, name)
		case ofServer && refused.Code != "":
			done.Refused = append(done.Refused, refusal{name, refused.Description})
		default:
			return done, fmt.Errorf("stopped at %s: %w", base.OneLine(name), err)
		}
	}
	if n := len(done.Refused); n > 0 {
		return done, fmt.Errorf("%d of %d users cannot be accounts", n, len(names))
	}
	return done, nil
}

// print lists the accounts that were made on standard output.
func (i *imported) print(p *base.Process) {
	for _, name := range i.Created {
		fmt.Fprintln(p.Stdout, base.OneLine(name))
	}
	for _, r := range i.Refused {
		fmt.Fprintf(p.Stderr, "not imported: %s: %s\n", base.OneLine(r.Name), base.OneLine(r.Reason))
	}
	verb := "created"
	if i.DryRun {
		verb = "would create"
	}
	fmt.Fprintf(p.Stderr, "%s %d account(s); %d existed already\n", verb, len(i.Created), len(i.Existing))
}
