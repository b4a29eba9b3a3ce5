package doctor

import (
	"fmt"
	"strings"
	"time"

	"secretstore/store/zk"
)

// ZooKeeper is what is known about a ZooKeeper.
type ZooKeeper struct {
	Tree zk.Inspection // of ROOT; Record is the bootstrap key
	// Partial: the server looked at ROOT and at the bootstrap key only.
	Partial bool
	Znode   zk.Exposure // of --auth-secret-znode
	Members []Member
	Read    time.Time // when Tree was read, by the clock of this machine
}

// Member is one member of an ensemble, and whether super:secret makes everybody its
// superuser.
type Member struct {
	Server  string
	Verdict zk.Verdict
	Error   string // why it is not known
}

const fixNoUser = "put user:password into a file with mode 0600, give it to all servers with --zk-auth-file FILE, and restart them: they set the ACLs of ROOT and all below"

func checkZooKeeperAccess(f *Facts) (all []Finding) {
	z := f.ZooKeeper
	if z == nil {
		return nil
	}
	root := f.Config.Storage.Root
	fix := fixNoUser
	if f.Config.ZKAuthFile != "" {
		fix = "restart a server, which repairs the ACLs, and see its log for what it cannot repair; give that back to the servers' user in zkCli.sh: setAcl -R " + root + " auth::cdrwa"
	}
	if e := z.Tree.Writable; e.Count > 0 {
		all = append(all, Finding{CheckZKAccess, Serious, root,
			"everybody who reaches ZooKeeper can change or delete " + z.some(e) + ": they can destroy the store, or put older records back", fix})
	}
	if e := z.Tree.Readable; e.Count > 0 {
		severity, text := Warning, "everybody who reaches ZooKeeper can read "+z.some(e)+": they can copy what is encrypted"
		if z.Tree.RecordReadable {
			severity, text = Serious, text+", and the bootstrap key that opens it"
		}
		all = append(all, Finding{CheckZKAccess, severity, root, text, fix})
	}
	if !z.Partial && !z.Tree.Complete && z.Tree.Looked > 0 {
		all = append(all, Finding{CheckZKAccess, Unknown, root, fmt.Sprintf("only the first %d znodes were looked at", z.Tree.Looked),
			"look at the others with getAcl in zkCli.sh"})
	}
	znode := f.Config.AuthSecretZnode
	for _, e := range []struct{ why, what string }{{z.Znode.Writable, "sign themselves a superuser's token, with their own key"}, {z.Znode.Readable, "sign themselves a superuser's token"}} {
		if znode != "" && e.why != "" {
			all = append(all, Finding{CheckZKAccess, Serious, znode, e.why + ", so that they can " + e.what,
				"use --auth-jwks, or restrict it in zkCli.sh: setAcl " + znode + " auth::cdrwa"})
		}
	}
	return all
}

func (z *ZooKeeper) some(e zk.Exposed) string {
	if z.Partial {
		return "ROOT and what is below"
	}
	quoted := make([]string, len(e.Examples))
	for i, path := range e.Examples {
		quoted[i] = fmt.Sprintf("%+.60q", path)
	}
	more := ""
	if e.Count > len(quoted) {
		more = ", …"
	}
	return fmt.Sprintf("%d of %d znodes (%s%s)", e.Count, z.Tree.Looked, strings.Join(quoted, ", "), more)
}

func checkZooKeeperSuperuser(f *Facts) (all []Finding) {
	if f.ZooKeeper == nil {
		return nil
	}
	for _, m := range f.ZooKeeper.Members {
		switch {
		case m.Verdict == zk.SuperuserAccepted:
			all = append(all, Finding{CheckZKSuperuser, Serious, m.Server,
				"ZooKeeper accepts super:secret, the default of DC/OS, as its superuser, whom no ACL restricts: everybody who reaches it can read and change everything",
				"remove -Dzookeeper.DigestAuthenticationProvider.superDigest from the options of each ZooKeeper server, or set the digest of a secret password, and restart them one after another"})
		case m.Verdict != zk.SuperuserRefused:
			why := m.Error
			if why == "" {
				why = "this ZooKeeper is older than 3.7, and everybody can read " + f.Config.Storage.Root
			}
			all = append(all, Finding{CheckZKSuperuser, Unknown, m.Server, "whether super:secret is its superuser could not be checked: " + why,
				"look for superDigest in the options of that ZooKeeper server"})
		}
	}
	return all
}

// bootstrapKey reports whether the storage, or a file beside it, holds a private key
// that unseals.
func (f *Facts) bootstrapKey() bool {
	_, file := f.bootstrapFile()
	return file || f.BootstrapKeyHeld || f.ZooKeeper != nil && f.ZooKeeper.Tree.Record
}

func checkBootstrapKey(f *Facts) []Finding {
	if !f.bootstrapKey() {
		return nil
	}
	file, _ := f.bootstrapFile()
	severity, text := Warning, "a bootstrap key is kept beside the data, as in DC/OS: anyone who can read or copy the whole storage can read every secret"
	switch {
	case f.ZooKeeper != nil && f.ZooKeeper.Tree.RecordReadable:
		severity, text = Serious, "everybody who reaches ZooKeeper can read the bootstrap key, and with it every secret"
	case file.Mode.Perm()&0o004 != 0:
		severity, text = Serious, "every user of this machine can read the bootstrap key, and every secret if they can read the storage"
	}
	return []Finding{{CheckBootstrapKey, severity, file.Path, text,
		"secretstore reinit --pgp-key FILE moves to keys of your own and loses no secret; then start the servers with --bootstrap=false"}}
}
