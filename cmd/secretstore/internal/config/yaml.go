package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// parseFile reads the text of a configuration file: a mapping from option names to
// scalars, or to lists of scalars if an option may be repeated. path names the file in
// problems. Problems never repeat values: a misplaced line may contain anything.
func parseFile(path string, data []byte) (map[string]setting, []Problem) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil, nil // an empty file sets nothing
	}
	if err != nil {
		return nil, []Problem{{path, "is not valid YAML; check indentation and quotes: " + firstLine(err)}}
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, []Problem{{path, `contains more than one YAML document; remove the "---" between them`}}
	}
	if len(doc.Content) != 1 {
		return nil, nil
	}
	top := doc.Content[0]
	if top.Kind == yaml.ScalarNode && top.Tag == "!!null" {
		return nil, nil // nothing but comments
	}
	if top.Kind != yaml.MappingNode {
		return nil, []Problem{{path, "must contain lines of the form option: value"}}
	}
	return parseMapping(path, top)
}

// firstLine shortens an error of the YAML library, which may quote much of the file
// after its first line.
func firstLine(err error) string {
	line, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), "yaml: "), "\n")
	return line
}

func parseMapping(path string, m *yaml.Node) (map[string]setting, []Problem) {
	known := known()
	out := map[string]setting{}
	var problems []Problem
	for i := 0; i+1 < len(m.Content); i += 2 {
		key, value := m.Content[i], m.Content[i+1]
		where := fmt.Sprintf("%s:%d: %s", path, key.Line, key.Value)
		o, ok := known[key.Value]
		if !ok || key.Kind != yaml.ScalarNode {
			problems = append(problems, Problem{where, unknownKey(known, key.Value)})
			continue
		}
		if _, twice := out[o.Name]; twice {
			problems = append(problems, Problem{where, "is set twice; remove one of the two lines"})
			continue
		}
		values, err := parseValue(o, value)
		if err != nil {
			problems = append(problems, Problem{where, err.Error()})
			continue
		}
		out[o.Name] = setting{where, values}
	}
	return out, problems
}

// known returns the options by name.
func known() map[string]Option {
	out := map[string]Option{}
	for _, o := range Options() {
		out[o.Name] = o
	}
	return out
}

// unknownKey recognizes common mistakes: underscores, capitals, leading dashes.
func unknownKey(known map[string]Option, key string) string {
	guess := strings.ToLower(strings.TrimLeft(strings.ReplaceAll(key, "_", "-"), "-"))
	if o, ok := known[guess]; ok {
		return fmt.Sprintf("is not an option; write %s", o.Name)
	}
	return "is not an option; see secretstore server --help for all of them"
}

func parseValue(o Option, v *yaml.Node) ([]string, error) {
	isAlias := func(n *yaml.Node) bool { return n.Kind == yaml.AliasNode }
	switch {
	case isAlias(v), slices.ContainsFunc(v.Content, isAlias):
		return nil, errors.New("has a YAML alias, which is not read; write the value out")
	case v.Kind == yaml.ScalarNode && v.Tag == "!!null":
		return nil, errors.New("has no value; give it one or remove the line")
	case v.Kind == yaml.ScalarNode:
		return commas(o, []string{v.Value}), nil
	case v.Kind == yaml.SequenceNode && o.Repeat:
		var out []string
		for _, item := range v.Content {
			if item.Kind != yaml.ScalarNode || item.Tag == "!!null" {
				return nil, errors.New("must be a list of plain values")
			}
			out = append(out, item.Value)
		}
		if len(out) == 0 {
			return nil, errors.New("is an empty list; remove the line")
		}
		return out, nil
	case v.Kind == yaml.SequenceNode:
		return nil, errors.New("takes one value, not a list")
	default:
		return nil, errors.New("takes a plain value")
	}
}
