package tasks

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"secretstore/acl"
	"secretstore/api/client"
	"secretstore/cmd/secretstore/internal/cli/base"
)

// readAll adds the folders of --all. A token that is bound to a service is refused here,
// before it is used: it can never list.
func (d *deliveryFlags) readAll(p *base.Process, out *delivery) error {
	for _, arg := range d.all {
		folder, err := base.Folder("--all "+arg, arg)
		if err != nil {
			return err
		}
		out.folders = append(out.folders, folder)
	}
	if len(out.folders) == 0 {
		return nil
	}
	if d.maxStale > 0 {
		return base.Usagef("--max-stale cannot be used with --all: without the server, nobody knows which secrets there are")
	}
	token, err := d.remote.Token(p)
	if err != nil {
		return err
	}
	if boundTo(token) != "" {
		return base.Usagef("--all needs the permission to list /%s, which a token that is bound to a service does not have; "+
			"name each secret with --env NAME=PATH", out.folders[0])
	}
	return nil
}

// expand returns the delivery with a variable for each secret below the folders that
// the service may read and that the command does not name itself.
func (q *question) expand(ctx context.Context, p *base.Process) (*delivery, error) {
	if len(q.what.folders) == 0 {
		return q.what, nil
	}
	service, err := acl.ParseService(q.what.service)
	if err != nil {
		return nil, err
	}
	out := *q.what
	out.env = slices.Clone(q.what.env)
	named := q.what.paths()
	for _, folder := range q.what.folders {
		names, err := q.list(ctx, p, folder)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			path, err := acl.ParsePath(url.PathEscape(folder.String() + "/" + name))
			if err != nil {
				return nil, err
			}
			if service.MayRead(path) && !slices.Contains(named, path.String()) {
				out.env = append(out.env, variable{name: variableOf(name), path: path.String(), listed: true})
			}
		}
	}
	if len(out.paths()) == 0 {
		return nil, fmt.Errorf("there is no secret below /%s that the service %s may read", out.folders[0], out.service)
	}
	return &out, checkVariables(out.env, p.Getenv)
}

// list returns the names below a folder. That the list is incomplete, if that is
// allowed, is said once.
func (q *question) list(ctx context.Context, p *base.Process, folder acl.Path) ([]string, error) {
	names, incomplete, err := base.ListNames(ctx, q.c, folder)
	switch {
	case errors.Is(err, client.ErrDenied):
		return nil, fmt.Errorf("--all needs the permission to list /%s: %w", folder, err)
	case err != nil:
		return nil, err
	case incomplete && !q.saidIncomplete:
		if err := q.what.incomplete.Check(p, incomplete); err != nil {
			return nil, err
		}
		q.saidIncomplete = true
	}
	return names, nil
}

// variableOf returns the name of the variable for a secret, from its name below the
// folder: in capitals, with an underscore for each other character than letters and
// digits, and before a digit at the start. So tls/server-key is TLS_SERVER_KEY.
func variableOf(name string) string {
	out := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
			return r
		}
		return '_'
	}, name)
	if out != "" && '0' <= out[0] && out[0] <= '9' {
		return "_" + out
	}
	return out
}

// checkVariables checks that no variable is given twice, and that those from a list do
// no harm: anyone who can create a secret in the folder can choose a name.
func checkVariables(all []variable, getenv func(string) string) error {
	seen := map[string]string{}
	for _, v := range all {
		if other, twice := seen[v.name]; twice {
			return base.Usagef("the variable %s is given twice: by %s and by %s", v.name, other, v.path)
		}
		seen[v.name] = v.path
		if !v.listed {
			continue
		}
		if runsCode(v.name) || slices.Contains(withheld, v.name) {
			return base.Usagef("--all: %s would set %s, which can make programs run other code; rename the secret, or use --env", v.path, v.name)
		}
		if getenv(v.name) != "" {
			return base.Usagef("--all: %s would replace the variable %s, which is set already; unset it, or use --env %s=%s", v.path, v.name, v.name, v.path)
		}
	}
	return nil
}

// runsCode reports whether a loader, a shell or an interpreter takes code, or where to
// find it, from a variable. The names are those that sudo removes, and a few more.
func runsCode(name string) bool {
	for _, prefix := range []string{"LD_", "DYLD_", "_RLD", "BASH_", "GIT_CONFIG", "GCONV_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return slices.Contains([]string{
		"PATH", "IFS", "ENV", "CDPATH", "SHELLOPTS", "BASHOPTS", "PS4", "PROMPT_COMMAND", "FPATH", "ZDOTDIR", "NULLCMD", "READNULLCMD",
		"PERLLIB", "PERL5LIB", "PERL5OPT", "PERL5DB", "PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONUSERBASE", "PYTHONINSPECT",
		"RUBYLIB", "RUBYOPT", "NODE_OPTIONS", "NODE_PATH", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH",
		"GIT_SSH", "GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_EXEC_PATH", "GIT_EDITOR", "GIT_PAGER", "GIT_TEMPLATE_DIR", "GIT_EXTERNAL_DIFF", "GIT_PROXY_COMMAND",
		"NLSPATH", "LOCPATH", "HOSTALIASES", "LOCALDOMAIN", "RES_OPTIONS", "TERMINFO", "OPENSSL_CONF", "PAGER", "EDITOR", "VISUAL", "BROWSER",
	}, name)
}
