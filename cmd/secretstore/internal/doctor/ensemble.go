package doctor

import (
	"context"
	"sync"
	"time"

	"secretstore/store"
	"secretstore/store/zk"
)

// BootstrapRecord is the record of the bootstrap key in ZooKeeper.
const BootstrapRecord store.Key = "keys/bootstrap_user.key"

// defaultSuperuser and defaultPassword are what DC/OS came with.
const (
	defaultSuperuser = "super"
	defaultPassword  = "secret"
)

// GatherZooKeeper looks at the storage of a configuration, and tries the default
// password of the superuser at each of its members.
func GatherZooKeeper(ctx context.Context, f *Facts, cfg zk.Config) {
	z := &ZooKeeper{Members: make([]Member, len(cfg.Servers))}
	var trying sync.WaitGroup
	for i, server := range cfg.Servers {
		trying.Go(func() {
			m := Member{Server: server}
			var err error
			if m.Verdict, err = zk.TrySuperuser(ctx, cfg, server, defaultSuperuser, defaultPassword); err != nil {
				m.Error = err.Error()
			}
			z.Members[i] = m
		})
	}
	var err error
	if z.Tree, err = zk.Inspect(ctx, cfg, BootstrapRecord); err != nil {
		f.Gaps = append(f.Gaps, Gap{CheckZKAccess, f.Config.Storage.Root, err.Error(), "see that ZooKeeper answers, then run this again"})
	}
	z.Read = time.Now()
	if znode := f.Config.AuthSecretZnode; znode != "" {
		if z.Znode, err = zk.InspectZnode(ctx, cfg, znode); err != nil {
			f.Gaps = append(f.Gaps, Gap{CheckZKAccess, znode, err.Error(), "see that ZooKeeper answers, then run this again"})
		}
	}
	trying.Wait()
	f.ZooKeeper = z
}
