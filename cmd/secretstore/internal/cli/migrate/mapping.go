package migrate

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"

	"secretstore/cmd/secretstore/internal/forms"
	"secretstore/internal/vault/kv"
)

// How an object with several members, or one that is not the text of a secret,
// becomes a secret: the values of --as.
const (
	asNothing = ""
	asValue   = "value"
	asJSON    = "json"
	asSplit   = "split"
)

// mapping says how an object becomes secrets.
type mapping struct {
	as        string
	valueKey  string // of the text of a secret
	base64Key string // of the bytes of a secret; "" for none
}

// errUndecided: only the user can say what an object becomes.
var errUndecided = errors.New("needs --as")

// part is one secret that an object becomes.
type part struct {
	member string // "" for the whole object
	item   forms.Item
}

// parts returns what one version of an object becomes. The caller clears the values.
func (m mapping) parts(o kv.Object) ([]part, error) {
	if m.only(o) || m.as == asValue {
		item, err := m.value(o)
		if err != nil {
			return nil, err
		}
		return []part{{"", item}}, nil
	}
	switch m.as {
	case asJSON:
		return []part{{"", forms.Item{Value: append([]byte(nil), o.JSON()...)}}}, nil
	case asSplit:
		return m.split(o)
	}
	return nil, errUndecided
}

// only reports whether the object has nothing but its text, or its bytes.
func (m mapping) only(o kv.Object) bool {
	return len(o.Members) == 1 && o.Members[0].Kind() == "string" && (o.Members[0].Name == m.valueKey || m.isBase64(o.Members[0].Name))
}

func (m mapping) isBase64(member string) bool { return m.base64Key != "" && member == m.base64Key }

// value returns the member that is the secret.
func (m mapping) value(o kv.Object) (forms.Item, error) {
	text, isText := o.Member(m.valueKey)
	data, isData := o.Member(m.base64Key)
	isData = isData && m.base64Key != ""
	switch {
	case isText && isData && m.valueKey != m.base64Key:
		return forms.Item{}, fmt.Errorf("has both members %q and %q", m.valueKey, m.base64Key)
	case isData:
		return fromBase64(data)
	case isText:
		return forms.Item{Value: text.Text()}, nil
	}
	return forms.Item{}, fmt.Errorf("has no member %q", m.valueKey)
}

func (m mapping) split(o kv.Object) (all []part, err error) {
	for _, member := range o.Members {
		item := forms.Item{Value: member.Text()}
		if m.isBase64(member.Name) {
			clear(item.Value)
			if item, err = fromBase64(member); err != nil {
				clearParts(all)
				return nil, err
			}
		}
		all = append(all, part{member.Name, item})
	}
	if len(all) == 0 {
		return nil, errors.New("has no members to split it into")
	}
	return all, nil
}

func clearParts(all []part) {
	for _, p := range all {
		clear(p.item.Value)
	}
}

// fromBase64 decodes a member that is base64, with or without padding.
func fromBase64(m kv.Member) (forms.Item, error) {
	text := m.Text()
	defer clear(text)
	value := make([]byte, base64.StdEncoding.DecodedLen(len(text))+3)
	for _, encoding := range []*base64.Encoding{base64.StdEncoding.Strict(), base64.RawStdEncoding.Strict()} {
		if n, err := encoding.Decode(value, text); err == nil && m.Kind() == "string" {
			return forms.Item{Value: value[:n], Binary: true}, nil
		}
		clear(value)
	}
	return forms.Item{}, fmt.Errorf("the member %q is not base64", m.Name)
}

// labelsOf makes labels of the metadata that a user of Vault has given a secret.
func labelsOf(custom map[string]string) (all []string) {
	for _, name := range slices.Sorted(maps.Keys(custom)) {
		all = append(all, name+"="+custom[name])
	}
	return all
}
