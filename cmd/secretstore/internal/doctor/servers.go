package doctor

import (
	"context"
	"errors"
	"time"

	"secretstore/api/client"
	"secretstore/api/wire"
)

// Asked is a server to be asked.
type Asked struct {
	URL    string
	Client *client.Client
	Here   bool // it runs on this machine
}

const (
	fixServer = "start the server, or name a running one with --server URL, then run this again"
	fixToken  = "run this with --token-file FILE, the token of a superuser"
	fixUpdate = "update the server"
	fixFault  = "see the server's log for the cause, then run this again"
)

// fixFor is what to do about a question to a server that has failed.
func fixFor(err error) string {
	var refused *client.Error
	switch {
	case errors.Is(err, errNotSuperuser), errors.Is(err, client.ErrUnauthorized), errors.Is(err, client.ErrDenied):
		return fixToken
	case errors.Is(err, errNoHost):
		return fixUpdate
	case errors.As(err, &refused):
		return fixFault
	}
	return fixServer
}

// errNotSuperuser: the server answered, but said nothing about itself.
var errNotSuperuser = errors.New("the server tells this only to a superuser")

var errNoHost = errors.New("the server is of an earlier release, or does not know")

// askTime bounds the questions to one server: another one may answer.
const askTime = 10 * time.Second

// GatherServers asks running servers about themselves, and the first that answers
// about the keys of the store.
func GatherServers(ctx context.Context, f *Facts, all []Asked) {
	keys, fix := false, fixServer
	for _, s := range all {
		err := f.gatherServer(ctx, s, !keys)
		if keys = keys || err == nil; err != nil {
			fix = fixFor(err)
		}
	}
	if !keys {
		f.Gaps = append(f.Gaps, Gap{CheckExpiry, "", "the PGP keys of the holders are known to running servers only", fix})
	}
}

// gatherServer asks one server about itself and, if it is to, about the keys. Its
// error says why the server has not answered a superuser.
func (f *Facts) gatherServer(ctx context.Context, s Asked, keys bool) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	sent := time.Now()
	status, err := s.Client.SealStatus(ctx)
	done := time.Now()
	switch {
	case err != nil:
	case status.Server == nil:
		err = errNotSuperuser
	case status.Server.Host == nil:
		err = errNoHost
	}
	if err != nil {
		f.Gaps = append(f.Gaps, Gap{CheckServers, s.URL, "whether its memory can be read, dumped or swapped out, and its clock: " + err.Error(), fixFor(err)})
	} else {
		host := *status.Server.Host
		f.Processes = append(f.Processes, Process{Server: s.URL, Here: s.Here, HostReport: host, Offset: CompareClock(sent, done, host.Time)})
	}
	if status.Server == nil {
		return err
	}
	f.BootstrapKeyHeld = f.BootstrapKeyHeld || status.Server.AutoUnseal
	for _, fault := range status.Server.Faults {
		if fault.Kind == wire.FaultDisk {
			f.Faults = append(f.Faults, Fault{s.URL, fault.Text})
		}
	}
	if keys {
		f.gatherHolders(ctx, s)
	}
	return nil
}

func (f *Facts) gatherHolders(ctx context.Context, s Asked) {
	keys, err := s.Client.Keys(ctx)
	if errors.Is(err, client.ErrUninitialized) {
		return // there are none
	}
	if err != nil {
		f.Gaps = append(f.Gaps, Gap{CheckExpiry, s.URL, "the PGP keys of the holders: " + err.Error(), fixFor(err)})
		return
	}
	f.BootstrapKeyHeld = f.BootstrapKeyHeld || keys.BootstrapKeyHeld
	for _, h := range keys.Holders {
		holder := Holder{Fingerprint: h.Fingerprint}
		if h.Expires != nil {
			holder.Ends = *h.Expires
		}
		f.Holders = append(f.Holders, holder)
	}
}

// LocalUser returns the number of the user of a server on this machine.
func (f *Facts) LocalUser() (uid int, ok bool) {
	for _, p := range f.Processes {
		if p.Here {
			return p.UserID, true
		}
	}
	return 0, false
}
