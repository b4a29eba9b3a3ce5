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

const fixAsk = "run this with --server URL of a running server, and --token-file FILE with a superuser's token"

// errNotSuperuser: the server answered, but said nothing about itself.
var errNotSuperuser = errors.New("the server tells this only to a superuser")

// askTime bounds the questions to one server: another one may answer.
const askTime = 10 * time.Second

// GatherServers asks running servers about themselves, and the first that answers
// about the keys of the store.
func GatherServers(ctx context.Context, f *Facts, all []Asked) {
	keys := false
	for _, s := range all {
		keys = f.gatherServer(ctx, s, !keys) || keys
	}
	if !keys {
		f.Gaps = append(f.Gaps, Gap{CheckExpiry, "", "the PGP keys of the holders are known to running servers only", fixAsk})
	}
}

// gatherServer asks one server about itself and, if it is to, about the keys. It
// reports whether the server has answered a superuser.
func (f *Facts) gatherServer(ctx context.Context, s Asked, keys bool) bool {
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
		err = errors.New("the server is of an earlier release, or does not know")
	}
	if err != nil {
		f.Gaps = append(f.Gaps, Gap{CheckServers, s.URL, "whether its memory can be read, dumped or swapped out, and its clock: " + err.Error(), fixAsk})
	} else {
		host := *status.Server.Host
		f.Processes = append(f.Processes, Process{Server: s.URL, Here: s.Here, HostReport: host, Offset: CompareClock(sent, done, host.Time)})
	}
	if status.Server == nil {
		return false
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
	return true
}

func (f *Facts) gatherHolders(ctx context.Context, s Asked) {
	keys, err := s.Client.Keys(ctx)
	if errors.Is(err, client.ErrUninitialized) {
		return // there are none
	}
	if err != nil {
		f.Gaps = append(f.Gaps, Gap{CheckExpiry, s.URL, "the PGP keys of the holders: " + err.Error(), fixAsk})
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
