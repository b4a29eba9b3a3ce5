package definition

import (
	"fmt"
	"slices"
	"strings"

	"secretstore/acl"
)

// Definition is what one app, pod or job says about secrets.
type Definition struct {
	Kind    Kind
	Service acl.Service
	// Secrets are the entries of "secrets", in the order of the document.
	Secrets []Secret
	// References are the places where a name is used, in the order of the
	// document within each kind of place. The plain form has none: it wants all
	// its secrets.
	References []Reference
	// Containers are the names of a pod's containers; empty for all else.
	Containers []string
}

// Kind is the form of a definition. The zero Kind is invalid.
type Kind uint8

// The forms. Plain is {"service":"/x","secrets":{"name":{"source":"…"}}}, for
// clients that place secrets by their own rules.
const (
	App Kind = iota + 1
	Pod
	Job
	Plain
)

// Secret is one entry of "secrets".
type Secret struct {
	Name string
	// Path is the secret in the store, or the root if the source is not a valid
	// path.
	Path acl.Path
}

// Valid reports whether the source is the path of a secret.
func (s Secret) Valid() bool { return !s.Path.IsRoot() }

// Encoded reports whether the value is base64 and is decoded when it is
// delivered. The last component of the path says so.
func (s Secret) Encoded() bool { return strings.HasPrefix(s.Path.Name(), encodedPrefix) }

const encodedPrefix = "__dcos_base64__"

// Use is how a secret is used. The zero Use is invalid.
type Use uint8

// The uses. Unmounted is a pod's volume of a secret that no container mounts:
// nothing is delivered.
const (
	Env Use = iota + 1
	File
	PullConfig
	Unmounted
)

// Reference is one place where a definition names a secret.
type Reference struct {
	Use Use
	// Secret is the name, and Entry its index in Secrets, or -1 if there is no
	// such entry.
	Secret string
	Entry  int
	// Container is the container of a pod; "" for all containers of the pod,
	// and for other definitions.
	Container string
	// Target is the name of the variable, the path of the file, or the name of
	// the volume; "" for a pull config.
	Target string
	// Writable: the definition asks for a file that the task can write to.
	Writable bool
}

// Defined reports whether the name is an entry of "secrets".
func (r Reference) Defined() bool { return r.Entry >= 0 }

// Place describes where the reference is, for people.
func (r Reference) Place() string {
	var place string
	switch r.Use {
	case Env:
		place = fmt.Sprintf("environment variable %q", r.Target)
	case File:
		place = fmt.Sprintf("file %q", r.Target)
	case PullConfig:
		place = "pull config"
	default:
		place = fmt.Sprintf("volume %q", r.Target)
	}
	if r.Container != "" {
		place += fmt.Sprintf(" of container %q", r.Container)
	}
	return place
}

// Wanted returns the entries of Secrets whose values the tasks get, in order
// and each once.
func (d *Definition) Wanted() []Secret {
	if d.Kind == Plain {
		return d.Secrets
	}
	used := make([]bool, len(d.Secrets))
	for _, r := range d.References {
		if r.Defined() && r.Use != Unmounted {
			used[r.Entry] = true
		}
	}
	var all []Secret
	for i, s := range d.Secrets {
		if used[i] {
			all = append(all, s)
		}
	}
	return all
}

// Unused returns the entries of Secrets that no reference names.
func (d *Definition) Unused() []Secret {
	if d.Kind == Plain {
		return nil
	}
	used := make([]bool, len(d.Secrets))
	for _, r := range d.References {
		if r.Defined() {
			used[r.Entry] = true
		}
	}
	var all []Secret
	for i, s := range d.Secrets {
		if !used[i] {
			all = append(all, s)
		}
	}
	return all
}

// EnvOf returns the variables of one container of a pod, sorted by name: those
// of the pod, overridden by the container's own. An app or a job has all in its
// only container, "".
func (d *Definition) EnvOf(container string) []Reference {
	var all []Reference
	for _, r := range d.References {
		if r.Use == Env && (r.Container == "" || r.Container == container) {
			all = append(all, r)
		}
	}
	slices.SortStableFunc(all, func(a, b Reference) int {
		if c := strings.Compare(a.Target, b.Target); c != 0 {
			return c
		}
		return strings.Compare(b.Container, a.Container) // the container's own first
	})
	return slices.CompactFunc(all, func(a, b Reference) bool { return a.Target == b.Target })
}

// Env returns the variables that have the same value in a pod and in all its
// containers that set them, sorted by name. An app or a job returns all.
func (d *Definition) Env() []Reference {
	var all []Reference
	at := make(map[string]int) // by name: in all
	differ := make(map[string]bool)
	for _, r := range d.References {
		if r.Use != Env {
			continue
		}
		i, seen := at[r.Target]
		switch {
		case !seen:
			at[r.Target] = len(all)
			all = append(all, r)
		case all[i].Entry != r.Entry:
			differ[r.Target] = true
		}
	}
	all = slices.DeleteFunc(all, func(r Reference) bool { return differ[r.Target] })
	slices.SortFunc(all, func(a, b Reference) int { return strings.Compare(a.Target, b.Target) })
	return all
}

// Files returns the files of all containers, in the order of the document.
func (d *Definition) Files() []Reference {
	var all []Reference
	for _, r := range d.References {
		if r.Use == File {
			all = append(all, r)
		}
	}
	return all
}

// PullConfigOf returns the pull config of a container, "" for the only one of
// an app or a job, and whether it has one.
func (d *Definition) PullConfigOf(container string) (Reference, bool) {
	for _, r := range d.References {
		if r.Use == PullConfig && r.Container == container {
			return r, true
		}
	}
	return Reference{}, false
}

// PullConfig returns the only pull config of the definition, and whether there
// is one. There is none if the containers of a pod have different ones.
func (d *Definition) PullConfig() (Reference, bool) {
	var found Reference
	for _, r := range d.References {
		switch {
		case r.Use != PullConfig:
		case found.Use == 0:
			found = r
		case found.Entry != r.Entry:
			return Reference{}, false
		}
	}
	return found, found.Use != 0
}
