package server

import (
	"context"
	"os"
	"time"

	"go.uber.org/zap"

	"secretstore/api/wire"
	"secretstore/cmd/secretstore/internal/config"
	"secretstore/cmd/secretstore/internal/doctor"
	"secretstore/store/zk"
)

// reportPosture logs what is weak in the set-up of this server, once, while it serves
// already. It tries no password: "secretstore doctor" does.
func (s *Server) reportPosture(ctx context.Context, endpoints []*endpoint) {
	if s.cfg.Dev {
		return // its greeting says what it is
	}
	f := doctor.Facts{Now: time.Now(), Config: s.cfg}
	for _, e := range endpoints {
		if e.scheme == "http" {
			f.PlainHTTP = e.listener.Addr().String()
		}
	}
	own := OwnFiles(s.cfg.Storage)
	doctor.GatherFiles(&f, os.Geteuid(), own)
	doctor.GatherCertificates(&f, own)
	doctor.GatherDisks(&f)
	if s.zk != nil {
		if f.ZooKeeper = s.lookAtZooKeeper(ctx); f.ZooKeeper == nil && ctx.Err() == nil {
			f.Gaps = append(f.Gaps, doctor.Gap{Check: doctor.CheckZKAccess, Subject: s.cfg.Storage.Root, Why: "ZooKeeper did not answer", Fix: "secretstore doctor"})
		}
	}
	if self := s.awaitClock(ctx); self != nil {
		f.Processes = []doctor.Process{{Server: "this server", Self: true, HostReport: *self}}
	}
	for _, finding := range doctor.Examine(f) {
		fields := []zap.Field{zap.String("check", string(finding.Check)), zap.String("severity", string(finding.Severity)),
			zap.String("about", finding.Subject), zap.String("fix", finding.Fix)}
		if finding.Severity == doctor.Unknown {
			s.log.Info(finding.Text, fields...)
		} else {
			s.log.Warn(finding.Text, fields...)
		}
	}
}

// host describes this process; nil if nothing is known.
func (s *Server) host() *wire.HostReport {
	r := doctor.Self()
	if r == nil || s.zk == nil {
		return r
	}
	if c := s.zk.Clock(); !c.At.IsZero() {
		r.StorageClock = &wire.ClockDifference{Ahead: c.Ahead.Seconds(), At: c.At.UTC()}
	}
	return r
}

// lookAtZooKeeper looks at ROOT and the bootstrap key alone: a server has better to
// do than to walk over all znodes. It returns nil if ZooKeeper does not answer.
func (s *Server) lookAtZooKeeper(ctx context.Context) *doctor.ZooKeeper {
	z := &doctor.ZooKeeper{Partial: true, Read: time.Now()}
	err := whenReached(ctx, func(ctx context.Context) (err error) {
		z.Tree, err = s.zk.InspectRoot(ctx, doctor.BootstrapRecord)
		return err
	})
	if err != nil {
		return nil
	}
	return z
}

// awaitClock describes this process, when its clock was compared with that of
// ZooKeeper, or after reachWait.
func (s *Server) awaitClock(ctx context.Context) *wire.HostReport {
	ctx, cancel := context.WithTimeout(ctx, reachWait)
	defer cancel()
	tick := time.NewTicker(reachRetry)
	defer tick.Stop()
	for {
		r := s.host()
		if r == nil || s.zk == nil || r.StorageClock != nil {
			return r
		}
		select {
		case <-ctx.Done():
			return r
		case <-tick.C:
		}
	}
}

// OwnFiles are the files that a server may keep beside its storage.
func OwnFiles(s config.Storage) doctor.OwnFiles {
	return doctor.OwnFiles{BootstrapKey: BootstrapKeyFile(s), SelfSigned: selfSignedFile(s)}
}

// ZooKeeperConfig reads the files about ZooKeeper, for a look at it without a server.
// The error is a config.Error.
func ZooKeeperConfig(cfg config.Config, log *zap.Logger) (zk.Config, error) {
	access, problems := loadZKAccess(cfg)
	if len(problems) > 0 {
		return zk.Config{}, config.Error(problems)
	}
	return access.config(cfg, log), nil
}
