package server

import (
	"io"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"secretstore/cmd/secretstore/internal/config"
)

// newLog makes the log, as JSON lines or as lines for people. It does not sample:
// errors are rare, and each may be the one that matters.
func newLog(w io.Writer, cfg config.Config) *zap.Logger {
	enc := zap.NewProductionEncoderConfig()
	enc.TimeKey = "time"
	enc.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	encoder := zapcore.NewJSONEncoder(enc)
	if cfg.LogFormat == "console" {
		enc.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		enc.EncodeLevel = zapcore.CapitalLevelEncoder
		encoder = zapcore.NewConsoleEncoder(enc)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), cfg.LogLevel))
}
