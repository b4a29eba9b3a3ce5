package zk

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"path"
	"slices"
	"sync"
	"time"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/store"
	"secretstore/store/zk/internal/access"
	"secretstore/store/zk/internal/batch"
	"secretstore/store/zk/internal/session"
	"secretstore/store/zk/internal/superuser"
	"secretstore/store/zk/internal/tree"
)

const (
	// maxInspected bounds how many znodes Inspect looks at.
	maxInspected = 100_000
	// maxExamples bounds how many paths an Inspection names.
	maxExamples = 5
	// trySuper bounds one attempt to be the superuser.
	trySuper = 10 * time.Second
)

// Exposed is a number of znodes, and the paths of some. Whoever can write to
// ZooKeeper chooses the names in the paths.
type Exposed struct {
	Count    int
	Examples []string
}

func (e *Exposed) add(path string) {
	if e.Count++; len(e.Examples) < maxExamples {
		e.Examples = append(e.Examples, path)
	}
}

// Inspection is what somebody who opens no store finds in its storage.
type Inspection struct {
	// Looked is how many znodes were looked at, those nearest to ROOT first, and
	// Complete whether these were all.
	Looked   int
	Complete bool
	// Readable and Writable are znodes that others can read or change; see
	// Exposure.
	Readable, Writable Exposed
	// Record is whether the record exists that was asked for, and RecordReadable
	// whether others can read it.
	Record, RecordReadable bool
	// Changed is when a znode was last changed, by the clock of ZooKeeper; zero if
	// there is none.
	Changed time.Time
}

// Inspect looks at the ACLs of ROOT and of what is below. It changes nothing: Open
// makes ROOT. ErrConfig, store.ErrUnavailable.
func Inspect(ctx context.Context, cfg Config, record store.Key) (in Inspection, err error) {
	err = onAMember(ctx, cfg, func(ctx context.Context, s *session.Session) error {
		in, err = inspect(ctx, s, tree.Tree{Root: cfg.Root}, record, maxInspected)
		return err
	})
	return in, err
}

// inspect looks at limit znodes at most, and keeps the names of no more.
func inspect(ctx context.Context, s *session.Session, t tree.Tree, record store.Key, limit int) (in Inspection, err error) {
	l, _, err := look(ctx, s, t.Path(record)) // first: there may be too many znodes beside it
	if err != nil {
		return in, err
	}
	in.noteRecord(l)
	in.Complete = true
	for queue := []string{t.Root}; len(queue) > 0; {
		at := queue[0]
		queue = queue[1:]
		in.Looked++
		l, changed, err := look(ctx, s, at)
		if err != nil {
			return in, err
		}
		in.note(l, changed)
		if l.Missing || l.Empty {
			continue
		}
		names, err := s.Children(ctx, at)
		if err != nil && !session.Answered(err) {
			return in, err
		}
		slices.Sort(names)
		if room := limit - in.Looked - len(queue); len(names) > room {
			names, in.Complete = names[:room], false
		}
		for _, name := range names {
			queue = append(queue, at+"/"+name)
		}
	}
	return in, nil
}

// note takes down what was found of a znode.
func (in *Inspection) note(l access.Level, changed time.Time) {
	if access.Expose([]access.Level{l}).Readable != "" {
		in.Readable.add(l.Path)
	}
	if !l.Missing && !l.Closed && access.Changeable(l.ACL) {
		in.Writable.add(l.Path)
	}
	if changed.After(in.Changed) {
		in.Changed = changed
	}
}

func (in *Inspection) noteRecord(l access.Level) {
	in.Record, in.RecordReadable = !l.Missing, access.Expose([]access.Level{l}).Readable != ""
}

// InspectRoot looks at ROOT and at one record, and not at all the others as Inspect
// does. store.ErrUnavailable, also while there is no ROOT yet.
func (b *Backend) InspectRoot(ctx context.Context, record store.Key) (in Inspection, err error) {
	if err := b.life.ready(ctx); err != nil {
		return in, err
	}
	for _, at := range []string{b.tree.Root, b.tree.Path(record)} {
		l, err := readOn(ctx, b.conns, fresh, func(c *zkc.Conn) (access.Level, error) {
			l, _, err := levelOf(c, at)
			return l, err
		})
		if err == nil && l.Missing && at == b.tree.Root {
			err = fmt.Errorf("%w: there is no %s yet", store.ErrUnavailable, at)
		}
		if err != nil {
			return in, err
		}
		in.Looked++
		in.note(l, time.Time{})
		in.noteRecord(l) // the last one
	}
	return in, nil
}

// look reads the ACL of a znode, and when it was changed.
func look(ctx context.Context, s *session.Session, at string) (l access.Level, changed time.Time, err error) {
	l, err = session.Do(ctx, s, func(c *zkc.Conn) (access.Level, error) {
		l, stat, err := levelOf(c, at)
		if stat != nil && !l.Missing {
			changed = time.UnixMilli(max(stat.Mtime, stat.Ctime))
		}
		return l, err
	})
	if err != nil && session.Answered(err) {
		err = fmt.Errorf("ACL of znode %q: %w", at, err)
	}
	return l, changed, err
}

// levelOf reads a znode for access.Expose.
func levelOf(c *zkc.Conn, at string) (access.Level, *zkc.Stat, error) {
	acl, stat, err := c.GetACL(at)
	switch {
	case errors.Is(err, zkc.ErrNoNode):
		return access.Level{Path: at, Missing: true}, nil, nil
	case errors.Is(err, zkc.ErrNoAuth):
		return access.Level{Path: at, Closed: true}, nil, nil
	case err != nil:
		return access.Level{}, nil, fmt.Errorf("ACL of znode %s: %w", at, err)
	}
	return access.Level{Path: at, ACL: acl, Empty: stat.NumChildren == 0}, stat, nil
}

// InspectZnode is ZnodeExposure without a Backend.
func InspectZnode(ctx context.Context, cfg Config, znode string) (e Exposure, err error) {
	if err := tree.CheckPath(znode); err != nil {
		return Exposure{}, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	err = onAMember(ctx, cfg, func(ctx context.Context, s *session.Session) error {
		e, err = exposureOf(znode, func(at string) (access.Level, error) {
			l, _, err := look(ctx, s, at)
			return l, err
		})
		return err
	})
	return e, err
}

// exposureOf reads a znode and those above it.
func exposureOf(znode string, read func(at string) (access.Level, error)) (Exposure, error) {
	var levels []access.Level
	for at, above := znode, true; above; at = path.Dir(at) {
		above = at != "/"
		l, err := read(at)
		if err != nil {
			return Exposure{}, err
		}
		levels = append(levels, l)
	}
	return access.Expose(levels), nil
}

// Verdict is whether a password is that of ZooKeeper's superuser.
type Verdict = superuser.Verdict

// The verdicts of TrySuperuser.
const (
	SuperuserUnknown  = superuser.Unknown
	SuperuserAccepted = superuser.Accepted
	SuperuserRefused  = superuser.Refused
)

// TrySuperuser finds out whether one member of ZooKeeper accepts a name and a password
// as those of its superuser. It logs in, on its own connection, and changes nothing.
func TrySuperuser(ctx context.Context, cfg Config, server, user, password string) (Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, trySuper)
	defer cancel()
	address, err := resolve(ctx, server, maxUnanswered)
	if err != nil {
		return superuser.Unknown, err
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return superuser.Unknown, err
	}
	var secure *tls.Config
	if t := cfg.tls(); t != nil {
		secure = session.ForServer(t, server)
	}
	return superuser.Try(ctx, conn, secure, cmp.Or(cfg.Root, "/"), user, password)
}

// onAMember makes a session with one member after the other until do has succeeded,
// or ZooKeeper has refused. It is for work that needs no Backend.
func onAMember(ctx context.Context, cfg Config, do func(context.Context, *session.Session) error) error {
	cfg.Servers = slices.Clone(cfg.Servers)
	if err := cfg.check(); err != nil {
		return err
	}
	var errs []error
	for _, server := range cfg.Servers {
		err := withMember(ctx, &cfg, server, do)
		if err == nil || session.Answered(err) || ctx.Err() != nil {
			return err
		}
		errs = append(errs, fmt.Errorf("%s: %w", server, err))
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, errors.Join(errs...))
}

// withMember makes a session with one member.
func withMember(ctx context.Context, cfg *Config, server string, do func(context.Context, *session.Session) error) error {
	s, end, err := connect(ctx, cfg, server)
	if err != nil {
		return err
	}
	defer end()
	return do(ctx, s)
}

// connect makes a session with one member; end ends it.
func connect(ctx context.Context, cfg *Config, server string) (s *session.Session, end func(), err error) {
	address, err := resolve(ctx, server, maxUnanswered)
	if err != nil {
		return nil, nil, err
	}
	s, err = session.New(ctx, session.Config{
		Server: server, Address: address, TLS: cfg.tls(), Timeout: cfg.SessionTimeout, Unanswered: maxUnanswered,
		User: cfg.User, Password: cfg.Password, MaxRequest: batch.MaxPacket, Log: cfg.Log, OnEvent: func(zkc.Event) {}, OnAwake: func() {},
	})
	if err != nil {
		return nil, nil, err
	}
	var tending sync.WaitGroup
	tending.Go(func() { s.Tend("/") })
	end = func() {
		s.Fail(errClosed)
		tending.Wait()
		s.Retire()
	}
	if err := s.Admit(ctx, maxUnanswered); err != nil {
		end()
		return nil, nil, err
	}
	return s, end, nil
}
