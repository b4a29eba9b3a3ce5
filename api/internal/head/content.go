package head

import (
	"net/http"
	"strings"

	"secretstore/api/internal/problem"
	"secretstore/api/wire"
	"secretstore/store"
)

const textEncoding = "unsupported Content-Encoding: send the body as it is"

// BadType is the 400 for the content type of a secret.
const BadType = "unsupported Content-Type: send text as application/json and bytes as application/octet-stream"

// ContentType returns whether the body of a request is a JSON document
// (wire.TypeJSON, also without a Content-Type) or raw bytes (wire.TypeBinary).
// Parameters do not matter: clients send charset in several forms.
func ContentType(h http.Header) (string, error) {
	for _, coding := range h["Content-Encoding"] {
		if coding != "" && !strings.EqualFold(coding, "identity") {
			return "", problem.BadRequest(textEncoding)
		}
	}
	types := h["Content-Type"]
	if len(types) > 1 {
		return "", problem.BadRequest(BadType)
	}
	if len(types) == 0 || types[0] == "" || types[0] == wire.TypeJSON {
		return wire.TypeJSON, nil
	}
	name, _, _ := strings.Cut(types[0], ";")
	switch strings.ToLower(strings.TrimSpace(name)) {
	case wire.TypeJSON:
		return wire.TypeJSON, nil
	case wire.TypeBinary:
		return wire.TypeBinary, nil
	}
	return "", problem.BadRequest(BadType)
}

// Consistency is store.Latest if the client sends Cache-Control: no-cache.
func Consistency(h http.Header) store.Consistency {
	for _, v := range h["Cache-Control"] {
		for directive := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(directive), "no-cache") {
				return store.Latest
			}
		}
	}
	return store.Cached
}
