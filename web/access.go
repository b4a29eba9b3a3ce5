package web

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"secretstore/acl"
	"secretstore/api/client"
	"secretstore/api/wire"
)

// maxRows bounds the rows of a table of accounts or groups.
const maxRows = 200

// accessPage is the data of the page about all who can get access.
type accessPage struct {
	Off       bool // the server has no accounts: --iam none
	Draft     draft
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

func showAccess(v *visit) error { return v.showAccounts(http.StatusOK, draft{}) }

func (v *visit) showAccounts(status int, d draft) error {
	p := accessPage{Off: !v.s.cfg.Accounts, Draft: d, Filter: v.query("filter")}
	if p.Off {
		return v.showAs(status, v.page.title, "access", p)
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
	return v.showAs(status, v.page.title, "access", p)
}

// changeAccess makes an account or a group.
func changeAccess(v *visit) error {
	ids, id, description := v.api.Identities(), v.form.text("id"), v.form.text("description")
	page, field := "account", "uid"
	var err error
	switch v.form.text("do") {
	case "user":
		err = ids.CreateUser(v.ctx(), id, wire.UserCreate{Description: description, Password: v.form.secret("password")})
	case "service":
		key := plainLines(v.form.text("key"))
		err = ids.CreateUser(v.ctx(), id, wire.UserCreate{Description: description, PublicKey: &key})
	case "group":
		page, field = "group", "gid"
		err = ids.CreateGroup(v.ctx(), id, wire.GroupCreate{Description: description})
	default:
		return errNoSuchForm
	}
	if err != nil {
		return v.again(err, v.showAccounts)
	}
	return v.redirect("created", page, field, id)
}

// errNoSuchForm refuses a form that no page of ours has.
var errNoSuchForm = &refusal{http.StatusBadRequest, "The form does not say what to do."}

// actions are what can be granted, in the order in which people choose.
var actions = []string{"read", "create", "update", "delete", "full"}

// kindsOfGrants are what grants can be on; [grantedResource] takes the first part.
var kindsOfGrants = []link{
	{To: "folder", Text: "all secrets below a folder"},
	{To: "secret", Text: "one secret"},
	{To: "list", Text: "the names below a folder (read)"},
	{To: "resource", Text: "another resource, written as in DC/OS"},
}

// holderPage is the data of the page about an account or a group: who may get access
// by grants.
type holderPage struct {
	Form  string // as in view: the templates of the forms see nothing else
	Page  string // account or group
	Field string // with ID in the forms
	ID    string
	Draft draft

	Direct  []wire.Permission
	ByGroup []wire.GroupPermission // what an account has by its groups
	Actions []string               // to choose from
	Kinds   []link                 // of resources, to choose from

	Account *wire.User
	Groups  []wire.GroupOfUser // of the account
	Keys    []wire.AccountKey  // of a service account

	Group   *wire.Group
	Members []wire.MemberOfGroup
}

func showAccount(v *visit) error {
	return v.showHolder(client.Holder{UID: v.query("uid")}, http.StatusOK, draft{})
}

func showGroup(v *visit) error {
	return v.showHolder(client.Holder{GID: v.query("gid")}, http.StatusOK, draft{})
}

func (v *visit) showHolder(h client.Holder, status int, d draft) error {
	p := &holderPage{Form: v.session.Form, Page: v.page.name, Draft: d, Actions: actions, Kinds: kindsOfGrants}
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
		var resource string
		if resource, err = grantedResource(v.form.text("on"), v.form.text("path")); err != nil {
			break
		}
		if until, err = parseUntil(v.form.text("until")); err == nil {
			err = grants.Allow(v.ctx(), h, action, resource, until)
		}
	case "revoke":
		err = grants.Revoke(v.ctx(), h, action, rid)
	case "password":
		done, err = "password", ids.UpdateUser(v.ctx(), h.UID, wire.UserUpdate{Password: v.form.secret("password")})
	case "revoke-tokens":
		done, err = "tokens", ids.RevokeTokens(v.ctx(), h.UID)
	case "delete":
		if err = v.deleteHolder(h); err == nil {
			return v.redirect("deleted", "access")
		}
	default:
		return errNoSuchForm
	}
	if err != nil {
		return v.again(err, func(status int, d draft) error { return v.showHolder(h, status, d) })
	}
	field, id := fieldOf(h)
	return v.redirect(done, v.page.name, field, id)
}

// grantedResource returns the resource of a new grant, from what the user has chosen.
// Other resources than those of secrets may be of other services.
func grantedResource(on, path string) (string, error) {
	path = strings.TrimSpace(path)
	below := strings.TrimPrefix("/"+strings.Trim(path, "/"), "//")
	resource := path
	switch on {
	case "secret":
		resource = "dcos:secrets:default:" + below
	case "folder":
		resource = "dcos:secrets:default:" + strings.TrimSuffix(below, "/") + "/*"
	case "list":
		resource = "dcos:secrets:list:default:" + below
	default:
		return resource, nil
	}
	if _, err := acl.ParsePattern(resource); err != nil {
		return "", &refusal{http.StatusBadRequest, "No secret can be at this path: use letters, digits, dots, underscores and hyphens, and slashes between folders."}
	}
	return resource, nil
}

// deleteHolder deletes an account or a group, if its name was typed once more.
func (v *visit) deleteHolder(h client.Holder) error {
	if _, id := fieldOf(h); v.form.text("confirm") != id {
		return &refusal{http.StatusBadRequest, "Type the name to confirm. Nothing was done."}
	}
	if h.GID != "" {
		return v.api.Identities().DeleteGroup(v.ctx(), h.GID)
	}
	return v.api.Identities().DeleteUser(v.ctx(), h.UID)
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
