package access

import (
	"slices"

	zkc "github.com/go-zookeeper/zk"
)

// Exposure is what others can do with a znode: everybody, and everybody with a
// certain address. The identities that an ACL names and that have to be proved
// (digest, sasl, x509) are not others.
type Exposure struct {
	// Writable says how others can change the znode, or put another in its
	// place; "" if they cannot.
	Writable string
	// Readable says how others can read it; "" if they cannot.
	Readable string
}

// Level is a znode, or one above it, with its ACL.
type Level struct {
	Path    string
	ACL     []zkc.ACL
	Missing bool
	// Empty: there is nothing in it, so that it can be deleted.
	Empty bool
	// Closed: this server may not read the ACL.
	Closed bool
}

// Expose decides about the znode of the first level; the others are those above
// it, up to the root.
func Expose(levels []Level) Exposure {
	if len(levels) == 0 {
		return Exposure{Writable: "nothing is known about it"}
	}
	self := levels[0]
	perms := byOthers(self.ACL)
	switch {
	case self.Missing:
		return Exposure{Writable: creatable(levels[1:])}
	case self.Closed:
		return Exposure{Writable: unknown(self)}
	}
	var e Exposure
	if perms&(zkc.PermRead|zkc.PermAdmin) != 0 {
		e.Readable = "the ACL of " + self.Path + " lets others read it"
	}
	if perms&(zkc.PermWrite|zkc.PermAdmin) != 0 {
		e.Writable = "the ACL of " + self.Path + " lets others change it"
	} else {
		e.Writable = replaceable(levels[1:])
	}
	return e
}

// replaceable says how others can delete a znode and make another: in the znode
// above it, or by doing so with that znode first, and so on.
func replaceable(above []Level) string {
	for _, l := range above {
		perms := byOthers(l.ACL)
		switch {
		case l.Closed:
			return unknown(l)
		case perms&zkc.PermAdmin != 0:
			return "the ACL of " + l.Path + " lets others change that ACL"
		case perms&zkc.PermDelete == 0:
			return ""
		case perms&zkc.PermCreate != 0:
			return "the ACL of " + l.Path + " lets others delete and create what is in it"
		}
	}
	return ""
}

// creatable says how others can make a znode that is missing: in the znode above
// it, or by making that one again.
func creatable(above []Level) string {
	for i, l := range above {
		perms := byOthers(l.ACL)
		switch {
		case l.Missing:
		case l.Closed:
			return unknown(l)
		case perms&(zkc.PermCreate|zkc.PermAdmin) != 0:
			return "it is missing, and the ACL of " + l.Path + " lets others create it"
		case l.Empty || perms&zkc.PermDelete != 0:
			return replaceable(above[i+1:])
		default:
			return ""
		}
	}
	return ""
}

// Changeable reports whether acl lets others change the znode, what is in it, or
// the ACL.
func Changeable(acl []zkc.ACL) bool {
	return byOthers(acl)&(zkc.PermWrite|zkc.PermCreate|zkc.PermDelete|zkc.PermAdmin) != 0
}

func unknown(l Level) string { return "the ACL of " + l.Path + " cannot be read" }

// byOthers returns the permissions that acl gives to identities that nobody has to
// prove. Schemes that are not known count as such.
func byOthers(acl []zkc.ACL) int32 {
	var perms int32
	for _, a := range acl {
		if !slices.Contains([]string{"digest", "sasl", "x509", "auth"}, a.Scheme) {
			perms |= a.Perms
		}
	}
	return perms
}
