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

// holderPage is the data of the page about an account or a group: who may get access
// by grants.
type holderPage struct {
	Form    string // as in view: the templates of the forms see nothing else
	Page    string // account or group
	Field   string // with ID in the forms
	ID      string
	Problem string

	Direct  []wire.Permission
	ByGroup []wire.GroupPermission // what an account has by its groups
	Actions []string               // to choose from

	Account *wire.User
	Groups  []wire.GroupOfUser // of the account
	Keys    []wire.AccountKey  // of a service account

	Group   *wire.Group
	Members []wire.MemberOfGroup
}

func showAccount(v *visit) error {
	return v.showHolder(client.Holder{UID: v.query("uid")}, http.StatusOK, "")
}

func showGroup(v *visit) error {
	return v.showHolder(client.Holder{GID: v.query("gid")}, http.StatusOK, "")
}

func (v *visit) showHolder(h client.Holder, status int, problem string) error {
	p := &holderPage{Form: v.session.Form, Page: v.page.name, Problem: problem, Actions: actions}
	p.Field, p.ID = fieldOf(h)
	read := v.readAccount
	if h.GID != "" {
		read = v.readGroup
	}
	if err := read(p); err != nil {
		return err
	}
	return v.showAs(status, v.page.title, p.Page, p)
}

// fieldOf returns the name and the value of the field that names a holder.
func fieldOf(h client.Holder) (name, value string) {
	if h.GID != "" {
		return "gid", h.GID
	}
	return "uid", h.UID
}

func (v *visit) readAccount(p *holderPage) error {
	ids := v.api.Identities()
	account, err := ids.User(v.ctx(), p.ID)
	if err != nil {
		return err
	}
	if p.Groups, err = ids.GroupsOf(v.ctx(), p.ID); err != nil {
		return err
	}
	grants, err := ids.Permissions(v.ctx(), p.ID)
	if err != nil {
		return err
	}
	p.Account, p.Direct, p.ByGroup = &account, grants.Direct, grants.Groups
	if account.IsService {
		p.Keys, err = ids.Keys(v.ctx(), p.ID)
	}
	return err
}

func (v *visit) readGroup(p *holderPage) error {
	ids := v.api.Identities()
	group, err := ids.Group(v.ctx(), p.ID)
	if err != nil {
		return err
	}
	users, err := ids.Members(v.ctx(), p.ID, false)
	if err != nil {
		return err
	}
	services, err := ids.Members(v.ctx(), p.ID, true)
	if err != nil {
		return err
	}
	p.Group, p.Members = &group, slices.Concat(users, services)
	p.Direct, err = v.api.Grants().OfGroup(v.ctx(), p.ID)
	return err
}

func changeAccount(v *visit) error {
	return v.changeHolder(client.Holder{UID: v.form.text("uid")})
}

func changeGroup(v *visit) error { return v.changeHolder(client.Holder{GID: v.form.text("gid")}) }

// changeHolder does what a form on the page of an account or a group asks for.
func (v *visit) changeHolder(h client.Holder) error {
	ids, grants := v.api.Identities(), v.api.Grants()
	uid, gid, rid, action := v.form.text("uid"), v.form.text("gid"), v.form.text("rid"), v.form.text("action")
	done := "saved"
	var err error
	switch v.form.text("do") {
	case "join":
		err = ids.AddMember(v.ctx(), gid, uid)
	case "leave":
		err = ids.RemoveMember(v.ctx(), gid, uid)
	case "grant":
		var until time.Time
		if until, err = parseUntil(v.form.text("until")); err == nil {
			err = grants.Allow(v.ctx(), h, action, grantedResource(v.form.text("on"), v.form.text("path")), until)
		}
	case "revoke":
		err = grants.Revoke(v.ctx(), h, action, rid)
	case "password":
		done, err = "password", ids.UpdateUser(v.ctx(), h.UID, wire.UserUpdate{Password: v.form.secret("password")})
	case "revoke-tokens":
		done, err = "tokens", ids.RevokeTokens(v.ctx(), h.UID)
	case "delete":
		return v.deleteHolder(h)
	default:
		return errNoSuchForm
	}
	if err != nil {
		return err
	}
	field, id := fieldOf(h)
	return v.redirect(done, v.page.name, field, id)
}

// grantedResource returns the resource of a new grant, from what the user has chosen.
func grantedResource(on, path string) string {
	path = strings.TrimSpace(path)
	below := strings.TrimPrefix("/"+strings.Trim(path, "/"), "//")
	switch on {
	case "secret":
		return "dcos:secrets:default:" + below
	case "folder":
		return "dcos:secrets:default:" + strings.TrimSuffix(below, "/") + "/*"
	case "list":
		return "dcos:secrets:list:default:" + below
	}
	return path
}

// deleteHolder deletes an account or a group, if its name was typed once more.
func (v *visit) deleteHolder(h client.Holder) (err error) {
	if _, id := fieldOf(h); v.form.text("confirm") != id {
		return v.showHolder(h, http.StatusBadRequest, "Type the name to confirm. Nothing was done.")
	}
	if h.GID != "" {
		err = v.api.Identities().DeleteGroup(v.ctx(), h.GID)
	} else {
		err = v.api.Identities().DeleteUser(v.ctx(), h.UID)
	}
	if err != nil {
		return err
	}
	return v.redirect("deleted", "access")
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
