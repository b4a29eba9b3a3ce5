package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/golang-jwt/jwt/v5"
	"github.com/spf13/cobra"

	"secretstore/acl"
	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/bulk"
	"secretstore/cmd/secretstore/internal/deliver"
)

// deliveryFlags say which secrets a program gets, and where. exec and render
// have them.
type deliveryFlags struct {
	env, files  []string
	service     string
	mode, owner string
	allowDisk   bool
	maxStale    time.Duration // of exec
	remote      remoteFlags
	definition  string
	container   string
	uid, gid    int
	perm        fs.FileMode
	modeGiven   bool
}

func (d *deliveryFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&d.files, "file", nil, "the secret `DEST=PATH` as a file (may be given again)")
	f.StringVar(&d.definition, "definition", "", "`FILE` with the definition of the app, pod or job: give what it names (- is standard input)")
	f.StringVar(&d.container, "container", "", "the container `NAME` of a pod's definition")
	f.StringVar(&d.service, "service", "", "the service `ID`, such as /group/app (default: that of the token, the definition, DCOS_SPACE or MARATHON_APP_ID)")
	f.StringVar(&d.mode, "file-mode", "0400", "`MODE` of the files, in octal")
	f.StringVar(&d.owner, "file-owner", "", "`UID:GID` of the files (default: those of whoever runs this)")
	f.BoolVar(&d.allowDisk, "allow-disk", false, "put files also where they reach a disk")
	d.remote.register(cmd, nil)
}

// variable is an environment variable and the path of its secret.
type variable struct{ name, path string }

// placed is a file and the path of its secret.
type placed struct {
	file deliver.File // without data
	path string
}

// delivery is what was asked for: the flags, checked. It holds no values.
type delivery struct {
	service string
	env     []variable
	files   []placed
	disk    bool
}

// read checks the flags as far as that goes without a server.
func (d *deliveryFlags) read(cmd *cobra.Command, p *Process) (*delivery, error) {
	if err := d.readOwner(); err != nil {
		return nil, err
	}
	d.modeGiven = cmd.Flags().Changed("file-mode")
	out := &delivery{disk: d.allowDisk}
	if err := d.readDefinition(p, out); err != nil {
		return nil, err
	}
	if err := d.readEnv(out); err != nil {
		return nil, err
	}
	if err := d.readFiles(out); err != nil {
		return nil, err
	}
	if err := out.check(); err != nil {
		return nil, err
	}
	return out, d.findService(p, out)
}

func (d *deliveryFlags) readEnv(out *delivery) error {
	for _, arg := range d.env {
		name, source, ok := strings.Cut(arg, "=")
		if !ok || !bulk.IsVariable(name) {
			return usage("--env %s: write NAME=PATH, with a name of letters, digits and underscores", arg)
		}
		path, err := secretPath(source)
		if err != nil {
			return err
		}
		out.env = append(out.env, variable{name, path})
	}
	return nil
}

func (d *deliveryFlags) readFiles(out *delivery) error {
	for _, arg := range d.files {
		// A path of a secret holds no "=", the name of a file may.
		i := strings.LastIndexByte(arg, '=')
		if i < 1 {
			return usage("--file %s: write DEST=PATH", arg)
		}
		path, err := secretPath(arg[i+1:])
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
		return usage("--file-mode must be an octal number such as 0400")
	}
	d.perm, d.uid, d.gid = fs.FileMode(mode), deliver.Keep, deliver.Keep
	if d.owner == "" {
		return nil
	}
	uid, gid, ok := strings.Cut(d.owner, ":")
	u, err1 := strconv.ParseUint(uid, 10, 31)
	g, err2 := strconv.ParseUint(gid, 10, 31)
	if !ok || err1 != nil || err2 != nil {
		return usage("--file-owner must be two numbers such as 1000:1000")
	}
	d.uid, d.gid = int(u), int(g)
	return nil
}

// check wants something to do, every variable once, and folders that may hold
// secrets.
func (d *delivery) check() error {
	if len(d.env)+len(d.files) == 0 {
		return usage("name at least one secret, with --env NAME=PATH, --file DEST=PATH or --definition FILE")
	}
	seen := map[string]bool{}
	for _, v := range d.env {
		if seen[v.name] {
			return usage("the variable %s is given twice", v.name)
		}
		seen[v.name] = true
	}
	if err := d.targets().Check(); err != nil {
		return usage("--file %v", err)
	}
	return nil
}

func (d *delivery) targets() deliver.Files {
	out := deliver.Files{AllowDisk: d.disk}
	for _, f := range d.files {
		out.List = append(out.List, f.file)
	}
	return out
}

// findService takes the first that is named: by the flag, the token, the
// definition, or the environment of a task.
func (d *deliveryFlags) findService(p *Process, out *delivery) error {
	token, err := d.remote.token(p)
	if err != nil {
		return err
	}
	for _, id := range []string{d.service, boundTo(token), out.service, p.Getenv("DCOS_SPACE"), p.Getenv("MARATHON_APP_ID")} {
		if id == "" {
			continue
		}
		service, err := acl.ParseService(id)
		if err != nil {
			return usage("%q is no service id; write one like /group/app", id)
		}
		out.service = service.String()
		return nil
	}
	return usage("name the service that the secrets are for with --service /group/app; neither the token nor DCOS_SPACE nor MARATHON_APP_ID names one")
}

// boundTo returns the service of a token, "" if it names none. Only the server
// can tell whether the token is genuine.
func boundTo(token string) string {
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token, claims); err != nil {
		return ""
	}
	id, _ := claims["service"].(string)
	return id
}

// request is the one question to the server. Each secret is asked for once.
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
	return all
}

// nameOf is what a secret is called in a request, where a path may be too long.
func nameOf(path string) string {
	sum := sha256.Sum256([]byte(path))
	return hex.EncodeToString(sum[:16])
}

// bundle is what a program gets.
type bundle struct {
	env   []string // NAME=value
	files deliver.Files
}

// maxVariable is what Linux takes for a variable, name and end included.
const maxVariable = 128 << 10

// take finds the values in the answer. Errors name paths only.
func (d *delivery) take(answer wire.Resolved) (*bundle, error) {
	for _, path := range d.paths() {
		if _, ok := answer.Secrets[nameOf(path)]; !ok {
			return nil, fmt.Errorf("the server did not send %s", path)
		}
	}
	out := &bundle{files: d.targets()}
	for _, v := range d.env {
		value, err := v.from(answer.Secrets[nameOf(v.path)])
		if err != nil {
			return nil, err
		}
		out.env = append(out.env, v.name+"="+value)
	}
	for i, f := range d.files {
		s := answer.Secrets[nameOf(f.path)]
		out.files.List[i].Data = s.Bytes
		if s.Value != nil {
			out.files.List[i].Data = []byte(*s.Value)
		}
	}
	return out, nil
}

// from returns the value of a variable, if one can have it.
func (v variable) from(s wire.ResolvedSecret) (string, error) {
	var why string
	switch {
	case s.Value == nil:
		why = "is binary"
	case strings.ContainsRune(*s.Value, 0):
		why = "has a NUL byte"
	case len(v.name)+len(*s.Value)+2 > maxVariable:
		why = "is larger than 128 KiB"
	default:
		return *s.Value, nil
	}
	return "", fmt.Errorf("%s %s and cannot be in an environment variable; use --file DEST=%s", v.path, why, v.path)
}

// changedFiles returns the files of b that differ from those of old, which was
// made from the same delivery.
func (b *bundle) changedFiles(old *bundle) deliver.Files {
	out := deliver.Files{AllowDisk: b.files.AllowDisk}
	for i, f := range b.files.List {
		if !bytes.Equal(f.Data, old.files.List[i].Data) {
			out.List = append(out.List, f)
		}
	}
	return out
}

func sameVariables(a, b *bundle) bool { return slices.Equal(a.env, b.env) }

// withheld are not passed on to a program: they are for the store alone.
var withheld = []string{"SECRETSTORE_TOKEN", "SECRETSTORE_TOKEN_FILE"}

// environment is that of this process, without the token, with the secrets.
func (b *bundle) environment() []string {
	replaced := slices.Clone(withheld)
	for _, v := range b.env {
		name, _, _ := strings.Cut(v, "=")
		replaced = append(replaced, name)
	}
	all := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(replaced, name)
	})
	return append(all, b.env...)
}

// question connects to the server. done ends the use of the connection.
func (d *deliveryFlags) question(p *Process, what *delivery) (q *question, done func(), err error) {
	body, err := what.request()
	if err != nil {
		return nil, nil, err
	}
	d.remote.reread = true
	servers, err := namedServers(p, []string{d.remote.server})
	if err != nil {
		return nil, nil, err
	}
	c, err := d.remote.connect(p)
	if err != nil {
		return nil, nil, err
	}
	return newQuestion(p, c, d, servers[0], body), c.Close, nil
}

// first asks the server, for as long as --timeout allows, and returns what the
// program gets. A signal ends it with the status that shells give it.
func (d *deliveryFlags) first(p *Process, q *question, what *delivery) (*bundle, error) {
	ctx, stop := untilSignal()
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, d.remote.timeout)
	defer cancel()
	answer, err := q.ask(ctx, p)
	if err != nil {
		if by, ok := errors.AsType[*ended](context.Cause(ctx)); ok {
			return nil, by
		}
		return nil, err
	}
	return what.take(answer)
}

// untilSignal returns a context that a signal ends, whose cause is *ended then.
func untilSignal() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		select {
		case s := <-signals:
			cancel(&ended{128 + int(s.(syscall.Signal))})
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
		wg.Wait()
	}
}
