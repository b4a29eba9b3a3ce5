package audit

import (
	"strconv"
	"time"
)

// Outcome is how a request ended.
type Outcome string

// The outcomes.
const (
	// Allowed: permitted and done.
	Allowed Outcome = "allowed"
	// Denied: no valid token, or no permission.
	Denied Outcome = "denied"
	// Refused: permitted or not decided about, but not done because of the
	// request itself or the state of the store (400, 404, 409, 413, sealed).
	Refused Outcome = "refused"
	// Failed: permitted, but the server or its storage could not do it, or does
	// not know whether it did.
	Failed Outcome = "failed"
)

// Entry is one decision. It is an allow-list: nothing else gets into the audit
// log, and no field may ever hold a value, a token or a key.
type Entry struct {
	Time      time.Time
	RequestID string
	// Traceparent is the trace that the client named (W3C Trace Context), in the
	// form of version 00; "" if it named none.
	Traceparent string
	UID         string // "" without authentication
	// Service is the service on whose behalf the request was made; "" if none.
	Service  string
	Action   string // of the permission: create, read, update, delete, full; or the endpoint's name
	Resource string // of the permission: dcos:secrets:default:/a/b; "" if the request concerns none
	// Object is the part of the IAM that the request was about, as users/alice; "" if
	// it was not about the IAM.
	Object   string
	Endpoint string // the name of the route, such as secret.read
	Outcome  Outcome
	Status   int // of the HTTP answer
	Reason   string
	Remote   string // address of the client
	// LeftOut is how many requests this line is in place of; 0 for a line of one
	// request.
	LeftOut int64
}

// maxField bounds each string of a line. The longest honest one is a resource
// with a path of 1,024 bytes.
const maxField = 2048

// maxStranger bounds what a client without a token can put into a line: the
// path that it asks for, and the service that it names.
const maxStranger = 64

// shorten cuts what a stranger has chosen.
func (e *Entry) shorten() {
	e.Resource = e.Resource[:min(len(e.Resource), maxStranger)]
	e.Object = e.Object[:min(len(e.Object), maxStranger)]
	e.Service = e.Service[:min(len(e.Service), maxStranger)]
}

// appendTo appends the entry as one line of JSON, newline included.
func (e *Entry) appendTo(b []byte) []byte {
	b = append(b, `{"time":"`...)
	b = appendTime(b, e.Time)
	b = append(b, '"')
	b = appendField(b, "request_id", e.RequestID)
	b = appendField(b, "uid", e.UID)
	b = appendField(b, "service", e.Service)
	b = appendField(b, "action", e.Action)
	b = appendField(b, "resource", e.Resource)
	if e.Object != "" {
		b = appendField(b, "object", e.Object)
	}
	b = appendField(b, "endpoint", e.Endpoint)
	b = appendField(b, "outcome", string(e.Outcome))
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(e.Status), 10)
	b = appendField(b, "reason", e.Reason)
	b = appendField(b, "remote", e.Remote)
	if e.Traceparent != "" {
		b = appendField(b, "traceparent", e.Traceparent)
	}
	if e.LeftOut > 0 {
		b = append(b, `,"left_out":`...)
		b = strconv.AppendInt(b, e.LeftOut, 10)
	}
	return append(b, '}', '\n')
}

// appendTime appends t in UTC with microseconds, as in RFC 3339. The library is
// fast for whole seconds only; their last byte is the Z.
func appendTime(b []byte, t time.Time) []byte {
	b = t.UTC().AppendFormat(b, time.RFC3339)
	b[len(b)-1] = '.'
	micros := t.Nanosecond() / 1000
	for unit := 100_000; unit > 0; unit /= 10 {
		b = append(b, byte('0'+micros/unit%10))
	}
	return append(b, 'Z')
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':', '"')
	b = appendText(b, value)
	return append(b, '"')
}

// appendText escapes everything but printable ASCII: a line break in a header
// cannot start a forged line, and neither a terminal escape nor a character
// that changes the direction of writing can make a line look like another.
func appendText(b []byte, s string) []byte {
	if len(s) > maxField {
		s = s[:maxField]
	}
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' || s[i] == '"' || s[i] == '\\' {
			b = append(b, s[:i]...)
			return appendEscaped(b, s[i:])
		}
	}
	return append(b, s...)
}

func appendEscaped(b []byte, s string) []byte {
	for _, r := range s { // invalid UTF-8 becomes U+FFFD
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case ' ' <= r && r <= '~':
			b = append(b, byte(r))
		case r > 0xFFFF:
			r -= 0x10000
			b = appendUnit(b, 0xD800+r>>10)
			b = appendUnit(b, 0xDC00+r&0x3FF)
		default:
			b = appendUnit(b, r)
		}
	}
	return b
}

func appendUnit(b []byte, u rune) []byte {
	const hex = "0123456789abcdef"
	return append(b, '\\', 'u', hex[u>>12&15], hex[u>>8&15], hex[u>>4&15], hex[u&15])
}
