package web

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"secretstore/api/client"
	"secretstore/api/wire"
)

// maxRows bounds the rows of a table of accounts or groups.
const maxRows = 200

// accessPage is the data of the page about all who can get access.
type accessPage struct {
	Off       bool // the server has no accounts: --iam none
	Filter    string
	Users     some[wire.User]
	Services  some[wire.User]
	Groups    some[wire.Group]
	Providers map[string]wire.LoginProvider
}

// some are the first of the entries that match a filter.
type some[T any] struct {
	Rows       []T
	Found, All int
}

// firstOf returns the entries whose names contain the filter, in upper or lower case.
func firstOf[T any](all []T, filter string, name func(T) string) some[T] {
	s := some[T]{All: len(all)}
	filter = strings.ToLower(filter)
	for _, entry := range all {
		if !strings.Contains(strings.ToLower(name(entry)), filter) {
			continue
		}
		if s.Found++; s.Found <= maxRows {
			s.Rows = append(s.Rows, entry)
		}
	}
	return s
}

func showAccess(v *visit) error {
	p := accessPage{Off: !v.s.cfg.Accounts, Filter: v.query("filter")}
	if p.Off {
		return v.show("access", p)
	}
	ids := v.api.Identities()
	users, err := ids.Users(v.ctx(), false)
	if err != nil {
		return err
	}
	services, err := ids.Users(v.ctx(), true)
	if err != nil {
		return err
	}
	groups, err := ids.Groups(v.ctx())
	if err != nil {
		return err
	}
	if p.Providers, err = ids.Providers(v.ctx()); err != nil {
		return err
	}
	uid := func(u wire.User) string { return u.UID }
	p.Users, p.Services = firstOf(users, p.Filter, uid), firstOf(services, p.Filter, uid)
	p.Groups = firstOf(groups, p.Filter, func(g wire.Group) string { return g.GID })
	return v.show("access", p)
}

// changeAccess makes an account or a group.
func changeAccess(v *visit) error {
	ids, id, description := v.api.Identities(), v.form.text("id"), v.form.text("description")
	switch v.form.text("do") {
	case "user":
		if err := ids.CreateUser(v.ctx(), id, wire.UserCreate{Description: description, Password: v.form.secret("password")}); err != nil {
			return err
		}
		return v.redirect("created", "account", "uid", id)
	case "service":
		key := unixLines(v.form.text("key"))
		if err := ids.CreateUser(v.ctx(), id, wire.UserCreate{Description: description, PublicKey: &key}); err != nil {
			return err
		}
		return v.redirect("created", "account", "uid", id)
	case "group":
		if err := ids.CreateGroup(v.ctx(), id, wire.GroupCreate{Description: description}); err != nil {
			return err
		}
		return v.redirect("created", "group", "gid", id)
	}
	return errNoSuchForm
}

// errNoSuchForm refuses a form that no page of ours has.
var errNoSuchForm = &refusal{http.StatusBadRequest, "The form asks for nothing that this page does."}

// unixLines makes the line breaks of a form those of a file.
func unixLines(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }

// actions are what can be granted, in the order in which people choose.
var actions = []string{"read", "create", "update", "delete", "full"}

// accountPage is the data of the page about a user or a service account.
type accountPage struct {
	wire.User
	Groups  []wire.GroupOfUser
	Grants  wire.UserPermissions
	Keys    []wire.AccountKey
	Actions []string
	Problem string
}

func showAccount(v *visit) error { return v.showAccount(v.query("uid"), http.StatusOK, "") }

func (v *visit) showAccount(uid string, status int, problem string) (err error) {
	ids, p := v.api.Identities(), accountPage{Actions: actions, Problem: problem}
	if p.User, err = ids.User(v.ctx(), uid); err != nil {
		return err
	}
	if p.Groups, err = ids.GroupsOf(v.ctx(), uid); err != nil {
		return err
	}
	if p.Grants, err = ids.Permissions(v.ctx(), uid); err != nil {
		return err
	}
	if p.IsService {
		if p.Keys, err = ids.Keys(v.ctx(), uid); err != nil {
			return err
		}
	}
	return v.showAs(status, v.page.title, "account", p)
}

func changeAccount(v *visit) error {
	ids, uid := v.api.Identities(), v.form.text("uid")
	var done string
	var err error
	switch v.form.text("do") {
	case "join":
		done, err = "saved", ids.AddMember(v.ctx(), v.form.text("gid"), uid)
	case "leave":
		done, err = "saved", ids.RemoveMember(v.ctx(), v.form.text("gid"), uid)
	case "password":
		done, err = "password", ids.UpdateUser(v.ctx(), uid, wire.UserUpdate{Password: v.form.secret("password")})
	case "revoke-tokens":
		done, err = "tokens", ids.RevokeTokens(v.ctx(), uid)
	case "delete":
		if v.form.text("confirm") != uid {
			return v.showAccount(uid, http.StatusBadRequest, "Type the name of the account to confirm. Nothing was done.")
		}
		if err := ids.DeleteUser(v.ctx(), uid); err != nil {
			return err
		}
		return v.redirect("deleted", "access")
	default:
		done, err = v.changeGrants(client.Holder{UID: uid})
	}
	if err != nil {
		return err
	}
	return v.redirect(done, "account", "uid", uid)
}

// changeGrants does what the forms about grants of a holder ask for.
func (v *visit) changeGrants(h client.Holder) (done string, err error) {
	grants, rid := v.api.Grants(), v.form.text("rid")
	switch v.form.text("do") {
	case "grant":
		until, err := parseUntil(v.form.text("until"))
		if err != nil {
			return "", err
		}
		return "saved", grants.Allow(v.ctx(), h, v.form.text("action"), rid, until)
	case "revoke":
		return "saved", grants.Revoke(v.ctx(), h, v.form.text("action"), rid)
	}
	return "", errNoSuchForm
}

// parseUntil reads the end of a grant, in UTC; "" is no end.
func parseUntil(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, &refusal{http.StatusBadRequest, "The end of a grant is a date and a time in UTC, such as 2030-12-31T18:00."}
}

// groupPage is the data of the page about a group.
type groupPage struct {
	wire.Group
	Members []wire.MemberOfGroup
	Grants  []wire.Permission
	Actions []string
	Problem string
}

func showGroup(v *visit) error { return v.showGroup(v.query("gid"), http.StatusOK, "") }

func (v *visit) showGroup(gid string, status int, problem string) (err error) {
	ids, p := v.api.Identities(), groupPage{Actions: actions, Problem: problem}
	if p.Group, err = ids.Group(v.ctx(), gid); err != nil {
		return err
	}
	if p.Members, err = ids.Members(v.ctx(), gid, false); err != nil {
		return err
	}
	services, err := ids.Members(v.ctx(), gid, true)
	if err != nil {
		return err
	}
	p.Members = slices.Concat(p.Members, services)
	if p.Grants, err = v.api.Grants().OfGroup(v.ctx(), gid); err != nil {
		return err
	}
	return v.showAs(status, v.page.title, "group", p)
}

func changeGroup(v *visit) error {
	ids, gid := v.api.Identities(), v.form.text("gid")
	var done string
	var err error
	switch v.form.text("do") {
	case "join":
		done, err = "saved", ids.AddMember(v.ctx(), gid, v.form.text("uid"))
	case "leave":
		done, err = "saved", ids.RemoveMember(v.ctx(), gid, v.form.text("uid"))
	case "delete":
		if v.form.text("confirm") != gid {
			return v.showGroup(gid, http.StatusBadRequest, "Type the name of the group to confirm. Nothing was done.")
		}
		if err := ids.DeleteGroup(v.ctx(), gid); err != nil {
			return err
		}
		return v.redirect("deleted", "access")
	default:
		done, err = v.changeGrants(client.Holder{GID: gid})
	}
	if err != nil {
		return err
	}
	return v.redirect(done, "group", "gid", gid)
}
