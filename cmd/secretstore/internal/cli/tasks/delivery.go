package tasks

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"
	"github.com/spf13/cobra"

	"secretstore/acl"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/deliver"
	"secretstore/cmd/secretstore/internal/forms"
)

// deliveryFlags are the flags of exec and render that say which secrets a program
// gets, and where.
type deliveryFlags struct {
	env, files  []string
	all         []string // of exec
	templates   []string
	onlyFiles   bool // templates have no standard output
	incomplete  base.Incomplete
	service     string
	mode, owner string
	allowDisk   bool
	maxStale    time.Duration // of exec
	remote      base.Remote
	definition  string
	container   string
	uid, gid    int
	perm        fs.FileMode
	modeGiven   bool
}

func (d *deliveryFlags) register(p *base.Process, cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&d.files, "file", nil, "`DEST=PATH` writes the secret PATH to the file DEST (repeatable)")
	f.StringArrayVar(&d.templates, "template", nil, "`[DEST=]FILE` fills in the template FILE and writes it to the file DEST (repeatable; - is standard input)")
	f.StringVar(&d.definition, "definition", "", "`FILE` with the definition of an app, pod or job, whose secrets to use (- is standard input)")
	f.StringVar(&d.container, "container", "", "the container `NAME` in the definition of a pod")
	f.StringVar(&d.service, "service", "", "the service `ID`, such as /group/app (default: that of the token, the definition, DCOS_SPACE or MARATHON_APP_ID)")
	f.StringVar(&d.mode, "file-mode", "0400", "octal `MODE` of the files")
	f.StringVar(&d.owner, "file-owner", "", "`UID:GID` of the files (default: your own)")
	f.BoolVar(&d.allowDisk, "allow-disk", false, "allow files on a disk")
	d.remote.Register(cmd)
	for _, name := range []string{"env", "file", "all"} {
		if f.Lookup(name) == nil {
			continue
		}
		err := cmd.RegisterFlagCompletionFunc(name, func(_ *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
			if name != "all" && !strings.Contains(word, "=") {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return d.remote.CompletePaths(p, word)
		})
		if err != nil {
			panic("internal error: " + err.Error()) // the flag exists
		}
	}
}

// variable is an environment variable and the path of its secret.
type variable struct {
	name, path string
	listed     bool // the name comes from a list of the server
}

// placed is a file and the path of its secret.
type placed struct {
	file deliver.File // without data
	path string
}

// delivery is the checked content of the flags. It holds no values.
type delivery struct {
	service    string
	folders    []acl.Path // whose secrets are variables, too: see expand
	incomplete base.Incomplete
	env        []variable
	files      []placed
	templates  []filling
	disk       bool
}

// read checks the flags as far as possible without a server.
func (d *deliveryFlags) read(cmd *cobra.Command, p *base.Process) (*delivery, error) {
	if err := d.readOwner(); err != nil {
		return nil, err
	}
	d.modeGiven = cmd.Flags().Changed("file-mode")
	out := &delivery{disk: d.allowDisk, incomplete: d.incomplete}
	if err := d.readDefinition(p, out); err != nil {
		return nil, err
	}
	if err := d.readEnv(out); err != nil {
		return nil, err
	}
	if err := d.readFiles(out); err != nil {
		return nil, err
	}
	if err := d.readTemplates(p, out); err != nil {
		return nil, err
	}
	if err := d.readAll(p, out); err != nil {
		return nil, err
	}
	if err := out.check(p); err != nil {
		return nil, err
	}
	return out, d.findService(p, out)
}

func (d *deliveryFlags) readEnv(out *delivery) error {
	for _, arg := range d.env {
		name, source, ok := strings.Cut(arg, "=")
		if !ok || !forms.IsVariable(name) {
			return base.Usagef("--env %s: write NAME=PATH, with a name of letters, digits and underscores", arg)
		}
		path, err := base.SecretPath(source)
		if err != nil {
			return err
		}
		out.env = append(out.env, variable{name: name, path: path})
	}
	return nil
}

func (d *deliveryFlags) readFiles(out *delivery) error {
	for _, arg := range d.files {
		// The path of a secret cannot contain "=", the name of a file can.
		i := strings.LastIndexByte(arg, '=')
		if i < 1 {
			return base.Usagef("--file %s: write DEST=PATH", arg)
		}
		path, err := base.SecretPath(arg[i+1:])
		if err != nil {
			return err
		}
		out.files = append(out.files, placed{deliver.File{Dest: arg[:i], Mode: d.perm, UID: d.uid, GID: d.gid}, path})
	}
	return nil
}

func (d *deliveryFlags) readOwner() error {
	mode, err := strconv.ParseUint(d.mode, 8, 32)
	if err != nil || mode > 0o777 {
		return base.Usagef("--file-mode must be an octal number such as 0400")
	}
	d.perm, d.uid, d.gid = fs.FileMode(mode), deliver.Keep, deliver.Keep
	if d.owner == "" {
		return nil
	}
	uid, gid, ok := strings.Cut(d.owner, ":")
	u, err1 := strconv.ParseUint(uid, 10, 31)
	g, err2 := strconv.ParseUint(gid, 10, 31)
	if !ok || err1 != nil || err2 != nil {
		return base.Usagef("--file-owner must be two numbers such as 1000:1000")
	}
	d.uid, d.gid = int(u), int(g)
	return nil
}

// check checks that there is something to do, that no variable is given twice, and
// that the folders may hold secrets.
func (d *delivery) check(p *base.Process) error {
	if len(d.paths())+len(d.folders) == 0 {
		return base.Usagef("name at least one secret, with --env NAME=PATH, --file DEST=PATH, --all PREFIX, --template FILE or --definition FILE")
	}
	if err := checkVariables(d.env, p.Getenv); err != nil {
		return err
	}
	if err := d.targets().Check(); err != nil {
		return base.Usagef("--file %v", err)
	}
	return nil
}

func (d *delivery) targets() deliver.Files {
	out := deliver.Files{AllowDisk: d.disk}
	for _, f := range d.files {
		out.List = append(out.List, f.file)
	}
	for _, t := range d.templates {
		if t.file.Dest != "" {
			out.List = append(out.List, t.file)
		}
	}
	return out
}

// findService takes the service from the flag, else the token, the definition, the
// environment of a task, or the folder of --all.
func (d *deliveryFlags) findService(p *base.Process, out *delivery) error {
	token, err := d.remote.Token(p)
	if err != nil {
		return err
	}
	folder := ""
	if len(out.folders) == 1 {
		folder = "/" + out.folders[0].String()
	}
	for _, id := range []string{d.service, boundTo(token), out.service, p.Getenv("DCOS_SPACE"), p.Getenv("MARATHON_APP_ID"), folder} {
		if id == "" {
			continue
		}
		service, err := acl.ParseService(id)
		if err != nil {
			return base.Usagef("%q is not a valid service id; write one like /group/app", id)
		}
		out.service = service.String()
		return nil
	}
	return base.Usagef("name the service with --service /group/app; the token, DCOS_SPACE and MARATHON_APP_ID do not name one")
}

// boundTo returns the service that a token names, or "". Only the server can verify
// the token.
func boundTo(token string) string {
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token, claims); err != nil {
		return ""
	}
	id, _ := claims["service"].(string)
	return id
}

// request returns the body of the request, which names each secret once.
func (d *delivery) request() ([]byte, error) {
	req := wire.ResolveRequest{Service: d.service, Secrets: map[string]wire.SecretSource{}}
	for _, path := range d.paths() {
		req.Secrets[nameOf(path)] = wire.SecretSource{Source: path}
	}
	return json.Marshal(req, json.Deterministic(true))
}

func (d *delivery) paths() []string {
	var all []string
	for _, v := range d.env {
		all = append(all, v.path)
	}
	for _, f := range d.files {
		all = append(all, f.path)
	}
	for _, t := range d.templates {
		all = append(all, t.paths...)
	}
	return all
}

// nameOf returns the name of a secret in the request. A path may be too long for it.
func nameOf(path string) string {
	sum := sha256.Sum256([]byte(path))
	return hex.EncodeToString(sum[:16])
}
