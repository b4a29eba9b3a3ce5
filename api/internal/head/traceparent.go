package head

import (
	"net/http"
	"strings"

	"secretstore/api/wire"
)

// The parts of a traceparent of version 00, and where they end:
// 00-TRACE-PARENT-FLAGS, in lower-case hexadecimal digits.
const (
	versionEnd = 2
	traceEnd   = 35
	parentEnd  = 52
	flagsEnd   = 55
)

// Traceparent returns the trace that the request belongs to (W3C Trace Context),
// as a traceparent of version 00, or "" if the request has none, several or a
// malformed one. It is always 55 bytes long, so a client can put little into the
// logs with it. A later version is read as the standard says: by what it has in
// common with version 00.
func Traceparent(h http.Header) string {
	values := h[wire.TraceparentHeader]
	if len(values) != 1 {
		return ""
	}
	value := values[0]
	if len(value) < flagsEnd || value[versionEnd] != '-' || value[traceEnd] != '-' || value[parentEnd] != '-' {
		return ""
	}
	version, rest := value[:versionEnd], value[flagsEnd:]
	if !isHex(version) || version == "ff" || version == "00" && rest != "" || rest != "" && rest[0] != '-' {
		return ""
	}
	trace, parent, flags := value[versionEnd+1:traceEnd], value[traceEnd+1:parentEnd], value[parentEnd+1:flagsEnd]
	if !isID(trace) || !isID(parent) || !isHex(flags) {
		return ""
	}
	// Sampled (1) and random (2) are the flags that are defined. Others must not
	// be passed on.
	digit, _ := hexDigit(flags[1])
	return "00-" + trace + "-" + parent + "-0" + string("0123"[digit&3])
}

// isID reports whether s is an id: one of zeros only is not.
func isID(s string) bool { return isHex(s) && strings.Trim(s, "0") != "" }

func isHex(s string) bool {
	for i := range len(s) {
		if _, ok := hexDigit(s[i]); !ok {
			return false
		}
	}
	return true
}

func hexDigit(c byte) (value byte, ok bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}
