package definition

import (
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"secretstore/acl"
)

// Parse reads one definition, or an array of them, which several reports.
//
// It refuses ambiguous documents: invalid JSON or UTF-8, duplicate names, known
// members of a wrong type, a document that is an app and a job at once. It
// skips members that it does not know. Errors are *Error, or
// acl.ErrInvalidService for an invalid id, such as one with `..`.
//
// Sources that are not valid paths, and names without an entry, are left to the
// caller.
func Parse(doc []byte) (all []Definition, several bool, err error) {
	if err := validate(doc); err != nil {
		return nil, false, err
	}
	r := &reader{left: maxNames}
	raw := jsontext.Value(doc)
	if raw.Kind() != '[' {
		d, err := r.definition(raw, "")
		if err != nil {
			return nil, false, err
		}
		return []Definition{*d}, false, nil
	}
	err = array(raw, "", func(where string, value jsontext.Value) error {
		d, err := r.definition(value, where)
		if err == nil {
			all = append(all, *d)
		}
		return err
	})
	if err != nil {
		return nil, true, err
	}
	return all, true, nil
}

// reader reads the definitions of one document.
type reader struct {
	left int // how many more names may come
}

// count takes one of the names that a document may have.
func (r *reader) count() error {
	if r.left--; r.left < 0 {
		return bad("", textTooMany)
	}
	return nil
}

// definition reads one definition of any kind.
func (r *reader) definition(raw jsontext.Value, where string) (*Definition, error) {
	if err := r.count(); err != nil {
		return nil, err
	}
	if raw.Kind() != '{' {
		return nil, bad(where, "must be an object: an app, a pod or a job")
	}
	v, err := pick(raw, where, "service", "run", "containers", "apps", "groups", "pods", "id", "secrets", "env", "environment", "container")
	if err != nil {
		return nil, err
	}
	for _, group := range v[3:6] {
		if !absent(group) {
			return nil, bad(where, "is a group: send an array of its apps and pods")
		}
	}
	form, forms := (*reader).app, 0
	for i, f := range []func(*reader, jsontext.Value, string) (*Definition, error){(*reader).plain, (*reader).job, (*reader).pod} {
		if !absent(v[i]) {
			form = f
			forms++
		}
	}
	if forms > 1 {
		return nil, bad(where, `must have only one of "containers" (a pod), "run" (a job) and "service"`)
	}
	// A caller that passes a definition on has checked the id that the
	// scheduler uses: a member that the scheduler ignores must not change the
	// service.
	id, parts := v[6], v[7:]
	if !absent(v[0]) && !absent(id) {
		return nil, bad(where, `must not have both "id" and "service"`)
	}
	if !absent(v[1]) && slices.ContainsFunc(parts, func(part jsontext.Value) bool { return !absent(part) }) {
		return nil, bad(where, `must not be an app or a pod and a job at once: the members of a job belong inside "run"`)
	}
	return form(r, raw, where)
}

// app reads a Marathon app.
func (r *reader) app(raw jsontext.Value, where string) (*Definition, error) {
	v, err := pick(raw, where, "id", "secrets", "env", "container")
	if err != nil {
		return nil, err
	}
	d := &Definition{Kind: App}
	if d.Service, err = marathonID(v[0], where+".id"); err != nil {
		return nil, err
	}
	c, err := pick(v[3], where+".container", "volumes", "docker")
	if err != nil {
		return nil, err
	}
	b := r.build(d)
	b.secrets(v[1], where+".secrets")
	b.env(v[2], where+".env", "")
	b.volumes(c[0], where+".container.volumes")
	b.pullConfig(c[1], where+".container.docker", "")
	return b.done()
}

// job reads a Metronome job.
func (r *reader) job(raw jsontext.Value, where string) (*Definition, error) {
	v, err := pick(raw, where, "id", "run")
	if err != nil {
		return nil, err
	}
	d := &Definition{Kind: Job}
	if d.Service, err = serviceID(v[0], where+".id"); err != nil {
		return nil, err
	}
	where += ".run"
	run, err := pick(v[1], where, "secrets", "env", "volumes", "docker", "ucr")
	if err != nil {
		return nil, err
	}
	ucr, err := pick(run[4], where+".ucr", "image")
	if err != nil {
		return nil, err
	}
	b := r.build(d)
	b.secrets(run[0], where+".secrets")
	b.env(run[1], where+".env", "")
	b.volumes(run[2], where+".volumes")
	b.pullConfig(run[3], where+".docker", "")
	b.pullConfig(ucr[0], where+".ucr.image", "")
	return b.done()
}

// pod reads a Marathon pod.
func (r *reader) pod(raw jsontext.Value, where string) (*Definition, error) {
	v, err := pick(raw, where, "id", "secrets", "environment", "volumes", "containers")
	if err != nil {
		return nil, err
	}
	d := &Definition{Kind: Pod}
	if d.Service, err = marathonID(v[0], where+".id"); err != nil {
		return nil, err
	}
	b := r.build(d)
	b.secrets(v[1], where+".secrets")
	b.env(v[2], where+".environment", "")
	b.podVolumes(v[3], where+".volumes")
	b.containers(v[4], where+".containers")
	b.unmounted()
	b.boundEnv()
	return b.done()
}

// plain reads the form that only lists secrets.
func (r *reader) plain(raw jsontext.Value, where string) (*Definition, error) {
	v, err := pick(raw, where, "service", "secrets")
	if err != nil {
		return nil, err
	}
	d := &Definition{Kind: Plain}
	id, _, err := text(v[0], where+".service", 1+acl.MaxPathBytes)
	if err != nil {
		return nil, err
	}
	// "" and "/" are the root service, as in X-Service-Id.
	if d.Service, err = acl.ParseService(id); err != nil {
		return nil, err
	}
	b := r.build(d)
	b.secrets(v[1], where+".secrets")
	return b.done()
}

// marathonID reads the id of an app or pod. Only slashes separate its
// components: to Marathon prod.db is /prod.db, and not in the space prod.
func marathonID(raw jsontext.Value, where string) (acl.Service, error) {
	id, err := definitionID(raw, where)
	if err != nil {
		return acl.Service{}, err
	}
	return acl.ParseService("/" + strings.TrimPrefix(id, "/"))
}

// serviceID reads the id of a job.
func serviceID(raw jsontext.Value, where string) (acl.Service, error) {
	id, err := definitionID(raw, where)
	if err != nil {
		return acl.Service{}, err
	}
	return acl.ParseService(id)
}

func definitionID(raw jsontext.Value, where string) (string, error) {
	id, _, err := text(raw, where, 1+acl.MaxPathBytes)
	if err == nil && (id == "" || id == "/") {
		err = bad(where, "is missing or empty")
	}
	return id, err
}

// builder fills in a definition. After its first error its methods do nothing.
type builder struct {
	r       *reader
	d       *Definition
	entries map[string]int // by name: in d.Secrets
	mounts  []podVolume
	volume  map[string]int // by name: in mounts, -1 for another kind of volume
	err     error
}

// podVolume is a volume of a pod that is a secret.
type podVolume struct {
	name, secret string
	mounted      bool
}

func (r *reader) build(d *Definition) *builder {
	return &builder{r: r, d: d, entries: make(map[string]int), volume: make(map[string]int)}
}

func (b *builder) done() (*Definition, error) {
	if b.err != nil {
		return nil, b.err
	}
	return b.d, nil
}

func (b *builder) object(raw jsontext.Value, where string, each func(name string, value jsontext.Value) error) {
	if b.err == nil {
		b.err = object(raw, where, each)
	}
}

func (b *builder) array(raw jsontext.Value, where string, each func(where string, value jsontext.Value) error) {
	if b.err == nil {
		b.err = array(raw, where, each)
	}
}

// secrets reads {"name":{"source":"path"}}. It comes before all references.
func (b *builder) secrets(raw jsontext.Value, where string) {
	b.object(raw, where, func(name string, value jsontext.Value) error {
		if len(name) > maxName {
			return bad(where, "has a name that is too long")
		}
		v, err := pick(value, where+".*", "source")
		if err != nil {
			return err
		}
		// A longer one is invalid, even if it is escaped.
		source, ok, err := text(v[0], where+".*.source", 3*acl.MaxPathBytes)
		if err != nil {
			return err
		}
		if !ok {
			return bad(where+".*.source", `is missing: write {"name":{"source":"path/of/the/secret"}}`)
		}
		// Not a URL: a percent sign is literal, and invalid in a path.
		path, err := acl.ParsePath(url.PathEscape(source))
		if err != nil {
			path = acl.Path{}
		}
		b.entries[name] = len(b.d.Secrets)
		b.d.Secrets = append(b.d.Secrets, Secret{Name: name, Path: path})
		return b.r.count()
	})
}

// refer adds a reference, and sets its entry.
func (b *builder) refer(r Reference) error {
	r.Entry = -1
	if i, ok := b.entries[r.Secret]; ok {
		r.Entry = i
	}
	b.d.References = append(b.d.References, r)
	return b.r.count()
}

// env reads {"NAME":{"secret":"name"}}; it skips variables with plain values.
func (b *builder) env(raw jsontext.Value, where, container string) {
	b.object(raw, where, func(name string, value jsontext.Value) error {
		if value.Kind() != '{' {
			return nil
		}
		v, err := pick(value, where+".*", "secret")
		if err != nil {
			return err
		}
		secret, ok, err := text(v[0], where+".*.secret", maxName)
		if err != nil || !ok {
			return err
		}
		if name == "" || len(name) > maxName || strings.ContainsAny(name, "=\x00") {
			return bad(where, "has a name that is not valid for an environment variable")
		}
		return b.refer(Reference{Use: Env, Secret: secret, Container: container, Target: name})
	})
}

// volumes reads [{"containerPath":"path","secret":"name"}] of an app or a job.
func (b *builder) volumes(raw jsontext.Value, where string) {
	b.array(raw, where, func(where string, value jsontext.Value) error {
		v, err := pick(value, where, "secret", "containerPath", "mode")
		if err != nil {
			return err
		}
		secret, ok, err := text(v[0], where+".secret", maxName)
		if err != nil || !ok {
			return err
		}
		path, err := filePath(v[1], where+".containerPath")
		if err != nil {
			return err
		}
		return b.refer(Reference{Use: File, Secret: secret, Target: path, Writable: string(v[2]) == `"RW"`})
	})
}

// filePath reads the path of a file. It refuses one that leaves the sandbox, or
// that a program would read as another: the client that writes the file trusts
// it.
func filePath(raw jsontext.Value, where string) (string, error) {
	path, _, err := text(raw, where, maxFilePath)
	switch {
	case err != nil:
		return "", err
	case strings.Trim(path, "/") == "":
		return "", bad(where, "is missing or empty")
	case slices.Contains(strings.Split(path, "/"), ".."), strings.Contains(path, "\x00"):
		return "", bad(where, "must not contain .. or a NUL")
	}
	return path, nil
}

// pullConfig reads {"pullConfig":{"secret":"name"}} of an image.
func (b *builder) pullConfig(raw jsontext.Value, where, container string) {
	if b.err != nil {
		return
	}
	image, err := pick(raw, where, "pullConfig")
	if err != nil {
		b.err = err
		return
	}
	where += ".pullConfig"
	v, err := pick(image[0], where, "secret")
	if err != nil {
		b.err = err
		return
	}
	secret, ok, err := text(v[0], where+".secret", maxName)
	if err == nil && ok {
		err = b.refer(Reference{Use: PullConfig, Secret: secret, Container: container})
	}
	b.err = err
}

// podVolumes reads [{"name":"volume","secret":"name"}]; the other volumes of a
// pod hold no secrets.
func (b *builder) podVolumes(raw jsontext.Value, where string) {
	b.array(raw, where, func(where string, value jsontext.Value) error {
		v, err := pick(value, where, "name", "secret")
		if err != nil {
			return err
		}
		name, _, err := text(v[0], where+".name", maxName)
		if err != nil {
			return err
		}
		if _, twice := b.volume[name]; twice {
			return bad(where+".name", "is the name of two volumes")
		}
		b.volume[name] = -1
		secret, ok, err := text(v[1], where+".secret", maxName)
		if err != nil || !ok {
			return err
		}
		b.volume[name] = len(b.mounts)
		b.mounts = append(b.mounts, podVolume{name: name, secret: secret})
		return b.r.count()
	})
}

// containers reads those of a pod.
func (b *builder) containers(raw jsontext.Value, where string) {
	b.array(raw, where, func(where string, value jsontext.Value) error {
		v, err := pick(value, where, "name", "environment", "volumeMounts", "image")
		if err != nil {
			return err
		}
		name, _, err := text(v[0], where+".name", maxName)
		switch {
		case err != nil:
			return err
		case name == "":
			return bad(where+".name", "is missing or empty")
		case slices.Contains(b.d.Containers, name):
			return bad(where+".name", "is the name of two containers")
		}
		b.d.Containers = append(b.d.Containers, name)
		b.env(v[1], where+".environment", name)
		b.volumeMounts(v[2], where+".volumeMounts", name)
		b.pullConfig(v[3], where+".image", name)
		if b.err == nil {
			b.err = b.r.count()
		}
		return b.err
	})
}

// volumeMounts reads [{"name":"volume","mountPath":"path"}].
func (b *builder) volumeMounts(raw jsontext.Value, where, container string) {
	b.array(raw, where, func(where string, value jsontext.Value) error {
		v, err := pick(value, where, "name", "mountPath", "readOnly")
		if err != nil {
			return err
		}
		name, _, err := text(v[0], where+".name", maxName)
		if err != nil {
			return err
		}
		at, ok := b.volume[name]
		if !ok || at < 0 {
			return nil
		}
		b.mounts[at].mounted = true
		path, err := filePath(v[1], where+".mountPath")
		if err != nil {
			return err
		}
		return b.refer(Reference{Use: File, Secret: b.mounts[at].secret, Container: container, Target: path, Writable: string(v[2]) == "false"})
	})
}

// unmounted adds the volumes that no container mounts.
func (b *builder) unmounted() {
	for _, m := range b.mounts {
		if b.err == nil && !m.mounted {
			b.err = b.refer(Reference{Use: Unmounted, Secret: m.secret, Target: m.name})
		}
	}
}

// boundEnv bounds the product of a pod's own variables and its containers, for
// each container gets all of them.
func (b *builder) boundEnv() {
	own := 0
	for _, r := range b.d.References {
		if r.Use == Env && r.Container == "" {
			own++
		}
	}
	if b.err == nil && own*len(b.d.Containers) > 5*maxNames {
		b.err = bad("", textTooMany)
	}
}
