package acs

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"secretstore/api/internal/head"
	"secretstore/api/internal/jsondoc"
	"secretstore/api/internal/problem"
	"secretstore/api/wire"
	"secretstore/iam"
)

// MaxBody bounds all bodies, in bytes. The largest honest one holds a public key
// and a description, each with escapes.
const MaxBody = 64 << 10

const (
	textAccept      = "The user agent must support application/json responses."
	textNoType      = "Missing Content-Type header."
	textType        = "Unexpected or undefined Content-Type"
	textNoJSON      = "Request has bad Content-Type or lacks JSON data"
	textUTF8        = "Cannot decode JSON body using UTF-8. Reason: invalid byte"
	textJSON        = "Cannot decode JSON body: it is not one JSON document, or has a name twice"
	textHint        = "Unexpected JSON input. Hint: "
	textNotObject   = textHint + "the document is not of type 'object'"
	textUnknownName = textHint + "Additional properties are not allowed"
)

// CheckAccept refuses clients that do not take JSON (406).
func CheckAccept(h http.Header) error {
	if head.AcceptsJSON(h) {
		return nil
	}
	return &problem.Problem{Status: http.StatusNotAcceptable, Text: textAccept}
}

// CheckType refuses a body that is not JSON, before it is read. A form is what curl
// and others send without being asked to; it counts as no JSON data.
func CheckType(r *http.Request, optional bool) error {
	if r.ContentLength == 0 {
		if optional {
			return nil
		}
		return problem.BadRequest(textNoJSON)
	}
	types := r.Header["Content-Type"]
	if len(types) == 0 || len(types) == 1 && types[0] == "" {
		return problem.BadRequest(textNoType)
	}
	name, _, _ := strings.Cut(types[0], ";")
	switch name = strings.ToLower(strings.TrimSpace(name)); {
	case len(types) > 1 || name != "application/json" && name != "application/x-www-form-urlencoded":
		return &problem.Problem{Status: http.StatusUnsupportedMediaType, Text: textType}
	case name != "application/json":
		return problem.BadRequest(textNoJSON)
	}
	return nil
}

// CheckJSON refuses a body that is not a JSON document, whatever is in it.
func CheckJSON(body []byte) error {
	return syntax(jsondoc.Members(body, func(string, jsontext.Value) error { return nil }), body)
}

// syntax is the answer for an error of [jsondoc.Members].
func syntax(err error, body []byte) error {
	switch {
	case errors.Is(err, jsondoc.ErrSyntax) && !utf8.Valid(body):
		return problem.BadRequest(textUTF8)
	case errors.Is(err, jsondoc.ErrSyntax):
		return problem.BadRequest(textJSON)
	case errors.Is(err, jsondoc.ErrNotObject):
		return problem.BadRequest(textNotObject)
	}
	return err
}

// field is a member that a body may have. set takes its value.
type field struct {
	name     string
	required bool
	set      func(jsontext.Value) error
}

// decode reads a body. If it is open, it may have members of other names.
func decode(body []byte, open bool, fields ...field) error {
	given := make([]bool, len(fields))
	err := syntax(jsondoc.Members(body, func(name string, value jsontext.Value) error {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		if i < 0 && open {
			return nil
		}
		if i < 0 {
			return problem.BadRequest(textUnknownName + unexpected(name))
		}
		given[i] = true
		return fields[i].set(value)
	}), body)
	if err != nil {
		return err
	}
	for i, f := range fields {
		if f.required && !given[i] {
			return problem.BadRequest(fmt.Sprintf("%s'%s' is a required property", textHint, f.name))
		}
	}
	return nil
}

// unexpected names a member, if it can be nothing but a name.
func unexpected(name string) string {
	odd := func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}
	if len(name) > 32 || strings.ContainsFunc(name, odd) {
		return ""
	}
	return " ('" + name + "' was unexpected)"
}

// member is a field of any type that package json decodes. kind is what the error
// calls it.
func member[T any](name, kind string, to *T) field {
	return field{name: name, set: func(v jsontext.Value) error {
		// null would be taken for the zero value. The error is dropped: it may
		// quote the value.
		if v.Kind() == 'n' || json.Unmarshal(v, to) != nil {
			return problem.BadRequest(fmt.Sprintf("%s'%s' is not %s", textHint, name, kind))
		}
		return nil
	}}
}

func text(name string, to *string) field { return member(name, "of type 'string'", to) }

// optional leaves to nil if the member is not given.
func optional[T any](name, kind string, to **T) field {
	return field{name: name, set: func(v jsontext.Value) error {
		*to = new(T)
		return member(name, kind, *to).set(v)
	}}
}

func optionalText(name string, to **string) field { return optional(name, "of type 'string'", to) }

// credential is a password or a token, in its own slice, which the caller clears.
func credential(name string, to *wire.Password) field {
	return member(name, "of type 'string'", to)
}

func moment(name string, to **time.Time) field {
	return optional(name, "a time in the form of RFC 3339", to)
}

func ignored(name string) field {
	return field{name: name, set: func(jsontext.Value) error { return nil }}
}

func required(f field) field {
	f.required = true
	return f
}

// decodeUserCreate also takes what clients of open DC/OS send besides.
func decodeUserCreate(body []byte) (doc wire.UserCreate, err error) {
	err = decode(body, false, text("description", &doc.Description), credential("password", &doc.Password), optionalText("public_key", &doc.PublicKey),
		optionalText("provider_type", &doc.ProviderType), optionalText("provider_id", &doc.ProviderID), ignored("creator_uid"), ignored("cluster_url"))
	return doc, err
}

func decodeUserUpdate(body []byte) (doc wire.UserUpdate, err error) {
	err = decode(body, false, optionalText("description", &doc.Description), credential("password", &doc.Password), credential("old_password", &doc.OldPassword))
	return doc, err
}

func decodeKeyAdd(body []byte) (doc wire.AccountKeyAdd, err error) {
	err = decode(body, false, required(text("public_key", &doc.PublicKey)), moment("retire_after", &doc.RetireAfter))
	return doc, err
}

func decodeGroupCreate(body []byte) (doc wire.GroupCreate, err error) {
	err = decode(body, false, required(text("description", &doc.Description)), optionalText("provider_type", &doc.ProviderType))
	return doc, err
}

// decodeDescription reads the body of all that takes a description alone.
func decodeDescription(body []byte) (description string, err error) {
	err = decode(body, false, required(text("description", &description)))
	if err == nil {
		err = iam.CheckDescription(description)
	}
	return description, err
}

// decodeGrant reads a body that may be missing.
func decodeGrant(body []byte) (doc wire.GrantCreate, err error) {
	if len(body) == 0 {
		return doc, nil
	}
	err = decode(body, false, moment("until", &doc.Until))
	return doc, err
}

func decodeLogin(body []byte) (doc wire.Login, err error) {
	err = decode(body, true, optionalText("uid", &doc.UID), credential("password", &doc.Password), credential("token", &doc.Token),
		optional("exp", "of type 'integer'", &doc.Exp))
	return doc, err
}

func decodeExchange(body []byte) (doc wire.CodeExchange, err error) {
	err = decode(body, false, required(text("code", &doc.Code)), required(credential("code_verifier", &doc.Verifier)))
	return doc, err
}
