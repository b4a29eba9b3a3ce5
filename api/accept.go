package api

import (
	"strconv"
	"strings"

	"secretstore/api/wire"
	"secretstore/seal"
)

const textAccept = "Unsupported Accept header: a binary secret is only to be had as application/octet-stream, a text as application/json or application/octet-stream"

// negotiate says whether a secret of this kind is answered as JSON or as its
// raw bytes, given the Accept headers. The stored form wins wherever the
// client takes it; media types that are none of ours do not count, for browsers
// and libraries send lists of their own.
func negotiate(kind seal.Kind, accept []string) (contentType string, err error) {
	stored := wire.TypeJSON
	if kind != seal.Text {
		stored = wire.TypeBinary
	}
	if len(accept) == 0 || len(accept) == 1 && (accept[0] == "*/*" || accept[0] == stored || accept[0] == "") {
		return stored, nil
	}
	var w wishes
	for _, header := range accept {
		for item := range strings.SplitSeq(header, ",") {
			w.add(item)
		}
	}
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
	return "", badRequest(textAccept)
}

// wishes is what an Accept header says about the two forms of a secret.
type wishes struct{ json, raw wish }

// wish is the best quality given by the most specific range that matched.
type wish struct {
	specificity int // 0 none, 1 */*, 2 application/*, 3 the type itself
	q           float64
}

func (w *wish) note(specificity int, q float64) {
	if specificity > w.specificity || specificity == w.specificity && q > w.q {
		*w = wish{specificity, q}
	}
}

func (w wish) quality() (q float64, known bool) { return w.q, w.specificity > 0 }

func (w *wishes) add(item string) {
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

// quality reads the q of a media range; one that cannot be read counts as 1,
// as no q at all does.
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
