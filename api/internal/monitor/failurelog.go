package monitor

import (
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// failuresLogged is how many 503s are logged a second. While the storage is
// away all requests fail alike, thousands a second, and would fill the disk,
// which may be why it is away. The audit log and the metrics have each of them.
const failuresLogged = 20

// FailureLog writes a line for each failed request, except for too many 503s:
// the next line says how many were left out.
type FailureLog struct {
	all, some *zap.Logger
	leftOut   atomic.Int64 // since the last line
}

// NewFailureLog returns a log that writes to log.
func NewFailureLog(log *zap.Logger) *FailureLog {
	f := &FailureLog{all: log}
	f.some = log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Second, failuresLogged, 0)
	}))
	return f
}

// Write writes a line with the given fields, which it makes only if there is
// room. stack is that of a panic, or nil. Other statuses than 503 are never
// left out: the line may be the only one about a damaged record.
func (f *FailureLog) Write(status int, stack []byte, fields func() []zap.Field) {
	log := f.all
	if status == http.StatusServiceUnavailable {
		log = f.some
	}
	ce := log.Check(zapcore.ErrorLevel, "request failed")
	if ce == nil {
		f.leftOut.Add(1)
		return
	}
	all := fields()
	if n := f.leftOut.Swap(0); n > 0 {
		all = append(all, zap.Int64("left_out", n))
	}
	if stack != nil {
		all = append(all, zap.ByteString("stack", stack))
	}
	ce.Write(all...)
}
