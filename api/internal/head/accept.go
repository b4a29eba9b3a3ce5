package head

import (
	"net/http"
	"strconv"
	"strings"

	"secretstore/api/internal/problem"
	"secretstore/api/wire"
	"secretstore/seal"
)

const textAccept = "Unsupported Accept header: a binary secret is only available as application/octet-stream, a text as application/json or application/octet-stream"

// Negotiate returns the content type of the answer for a secret of this kind:
// wire.TypeJSON, or wire.TypeBinary for its raw bytes. The stored form wins if
// the client accepts it. Other media types do not count: browsers and libraries
// send lists of their own.
func Negotiate(kind seal.Kind, h http.Header) (contentType string, err error) {
	accept := h["Accept"]
	stored := wire.TypeJSON
	if kind != seal.Text {
		stored = wire.TypeBinary
	}
	if len(accept) == 0 || len(accept) == 1 && (accept[0] == "*/*" || accept[0] == stored || accept[0] == "") {
		return stored, nil
	}
	w := preferencesOf(accept)
	asJSON, jsonKnown := w.json.quality()
	asRaw, rawKnown := w.raw.quality()
	switch {
	case !jsonKnown && !rawKnown:
		return stored, nil
	case kind == seal.Text && asJSON > 0 && asJSON >= asRaw:
		return wire.TypeJSON, nil
	case asRaw > 0:
		return wire.TypeBinary, nil
	}
	return "", problem.BadRequest(textAccept)
}

// preferences is what an Accept header says about the two forms of a secret.
type preferences struct{ json, raw preference }

// preference is the best quality given by the most specific range that matched.
type preference struct {
	specificity int // 0 none, 1 */*, 2 application/*, 3 the type itself
	q           float64
}

func (w *preference) note(specificity int, q float64) {
	if specificity > w.specificity || specificity == w.specificity && q > w.q {
		*w = preference{specificity, q}
	}
}

func (w preference) quality() (q float64, known bool) { return w.q, w.specificity > 0 }

func preferencesOf(accept []string) (w preferences) {
	for _, header := range accept {
		for item := range strings.SplitSeq(header, ",") {
			w.add(item)
		}
	}
	return w
}

func (w *preferences) add(item string) {
	name, params, _ := strings.Cut(item, ";")
	q := quality(params)
	switch strings.ToLower(strings.TrimSpace(name)) {
	case wire.TypeJSON:
		w.json.note(3, q)
	case wire.TypeBinary:
		w.raw.note(3, q)
	case "application/*":
		w.json.note(2, q)
		w.raw.note(2, q)
	case "*/*", "*":
		w.json.note(1, q)
		w.raw.note(1, q)
	}
}

// quality reads the q of a media range. It is 1 without a q, or with one that
// is malformed.
func quality(params string) float64 {
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if !strings.EqualFold(name, "q") {
			continue
		}
		q, err := strconv.ParseFloat(value, 64)
		if err == nil && q >= 0 && q <= 1 {
			return q
		}
	}
	return 1
}

// AcceptsJSON reports whether the client takes a JSON document. Unlike Negotiate, it
// counts media types that a client names and this server does not have.
func AcceptsJSON(h http.Header) bool {
	accept := h["Accept"]
	if len(accept) == 0 || len(accept) == 1 && accept[0] == "" {
		return true
	}
	w := preferencesOf(accept)
	q, known := w.json.quality()
	return known && q > 0
}

// AcceptsHTML reports whether the client names HTML: browsers do.
func AcceptsHTML(h http.Header) bool {
	for _, header := range h["Accept"] {
		for item := range strings.SplitSeq(header, ",") {
			name, _, _ := strings.Cut(item, ";")
			if strings.EqualFold(strings.TrimSpace(name), "text/html") {
				return true
			}
		}
	}
	return false
}
