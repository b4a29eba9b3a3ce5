package web

import (
	"strings"

	"secretstore/acl"
)

// may reports whether the user may do something with a secret; the actions are those
// of [acl.ParseQuestion]. Pages leave out what would be refused. The API decides about
// each request.
func (v *visit) may(action, path string) bool {
	asked, err := acl.ParseQuestion(action, path, acl.Service{}, false)
	return err == nil && v.session != nil && v.s.cfg.Policy().Decide(v.session.who, asked).Allowed
}

// mayCreateBelow reports whether the user may create some secret below a folder.
func (v *visit) mayCreateBelow(folder string) bool {
	f, err := acl.ParseFolder(folder)
	return err == nil && v.session != nil && v.s.cfg.Policy().MayCreateBelow(v.session.who, f)
}

// rights are what the user may do with a secret, besides reading it.
type rights struct{ Create, Update, Delete bool }

func (v *visit) rightsTo(path string) rights {
	return rights{Create: v.may("create", path), Update: v.may("update", path), Delete: v.may("delete", path)}
}

// Lacks says what the user may not do with a secret that is there, such as "change or
// delete"; "" if nothing.
func (r rights) Lacks() string {
	var all []string
	if !r.Update {
		all = append(all, "change")
	}
	if !r.Delete {
		all = append(all, "delete")
	}
	return strings.Join(all, " or ")
}
