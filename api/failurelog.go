package api

import (
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// failuresLogged is how many requests that were answered 503 the log is told of in
// a second. While the storage is away all fail alike, thousands a second, and would
// fill the disk that it may be away for. The audit log and the metrics have each.
const failuresLogged = 20

// failureLog writes a line for failed requests, but for those 503 that are too
// many: the next line says how many they were.
type failureLog struct {
	all, some *zap.Logger
	leftOut   atomic.Int64 // since the last line
}

func newFailureLog(log *zap.Logger) *failureLog {
	f := &failureLog{all: log}
	f.some = log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, time.Second, failuresLogged, 0)
	}))
	return f
}

// write writes fields, which are made only then. stack is of a panic. What is not
// a 503 is never left out: it may be the one line that tells of a damaged record.
func (f *failureLog) write(status int, stack []byte, fields func() []zap.Field) {
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
