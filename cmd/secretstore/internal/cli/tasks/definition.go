package tasks

import (
	"fmt"
	"slices"
	"strings"

	"secretstore/api/definition"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/deliver"
)

// readDefinition adds the secrets that the definition of an app, pod or job gives to
// its task. Its pull config is for the agent, not for the task.
func (d *deliveryFlags) readDefinition(p *base.Process, out *delivery) error {
	if d.definition == "" {
		if d.container != "" {
			return base.Usagef("--container needs --definition")
		}
		return nil
	}
	data, err := base.ReadText(p, d.definition)
	if err != nil {
		return err
	}
	all, _, err := definition.Parse(data)
	if err != nil {
		return base.Usagef("%s: %v", d.definition, err)
	}
	if len(all) != 1 || all[0].Kind == definition.Plain {
		return base.Usagef("%s must contain the definition of one app, pod or job", d.definition)
	}
	def := &all[0]
	container, err := d.findContainer(def)
	if err != nil {
		return err
	}
	out.service = def.Service.String()
	refs := def.EnvOf(container)
	for _, r := range def.Files() {
		if r.Container == container {
			refs = append(refs, r)
		}
	}
	for _, r := range refs {
		if err := d.refer(def, r, out); err != nil {
			return err
		}
	}
	return nil
}

// findContainer returns the container whose secrets to use; "" if the definition is
// not that of a pod.
func (d *deliveryFlags) findContainer(def *definition.Definition) (string, error) {
	switch {
	case slices.Contains(def.Containers, d.container):
		return d.container, nil
	case d.container != "":
		return "", base.Usagef("%s has no container %q", d.definition, d.container)
	case len(def.Containers) > 1:
		return "", base.Usagef("%s has several containers: name one with --container (%s)", d.definition, strings.Join(def.Containers, ", "))
	case len(def.Containers) == 1:
		return def.Containers[0], nil
	}
	return "", nil
}

func (d *deliveryFlags) refer(def *definition.Definition, r definition.Reference, out *delivery) error {
	if !r.Defined() {
		return base.Usagef("%s: the %s uses the secret %q, which its \"secrets\" do not name", d.definition, r.Place(), r.Secret)
	}
	s := def.Secrets[r.Entry]
	if !s.Valid() {
		return base.Usagef("%s: the source of the secret %q is not a path: %s", d.definition, r.Secret, base.BadPath)
	}
	if r.Use == definition.Env {
		out.env = append(out.env, variable{name: r.Target, path: s.Path.String()})
		return nil
	}
	mode := d.perm
	if r.Writable && !d.modeGiven {
		mode |= 0o200
	}
	out.files = append(out.files, placed{deliver.File{Dest: r.Target, Mode: mode, UID: d.uid, GID: d.gid}, s.Path.String()})
	return nil
}

// noVariables refuses variables for render, which runs no program.
func (d *delivery) noVariables() error {
	if len(d.env) == 0 {
		return nil
	}
	return base.Usagef("%s is an environment variable; render only writes files, so use exec", fmt.Sprintf("%q", d.env[0].name))
}
