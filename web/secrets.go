package web

import (
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"secretstore/api/client"
	"secretstore/api/wire"
)

// rowsOfSecrets is how many rows a table of secrets has.
const rowsOfSecrets = 50

// secretTable is the data of the page with the secrets of a folder, or with those that
// a search has found.
type secretTable struct {
	Folder     string // "" is the root
	Search     string
	Rows       []secretRow
	Count      string // such as "251 of 100,000 secrets"
	Next       string // the address of the next page; "" if this is the last
	Incomplete bool
	// Missing says which permission the user lacks; "" if none.
	Missing string
	Sealed  bool // the store is sealed: no permission would help
	// MayCreate: the user may create some secret in the folder or below it.
	MayCreate bool
}

// HasChoice reports whether there are rows to choose.
func (t *secretTable) HasChoice() bool {
	return slices.ContainsFunc(t.Rows, func(r secretRow) bool { return r.MayDelete })
}

// secretRow is a secret, or a folder.
type secretRow struct {
	Name     string // relative to the folder
	Path     string
	IsFolder bool
	Secrets  string // how many a folder has
	// Known: the user may read the secret, so that the rest is known.
	Known   bool
	Kind    string
	Version uint64
	Written *time.Time
	By      string // who created it
	Deleted *time.Time
	Until   *time.Time // it can be undeleted until then

	MayDelete, MayUndelete bool
}

// crumbs returns the folders from the root to one, each with its address.
func crumbs(folder string) (all []link) {
	all = append(all, link{To: address("secrets"), Text: "all"})
	at := ""
	for name := range strings.SplitSeq(folder, "/") {
		if name != "" {
			at = path.Join(at, name)
			all = append(all, link{To: address("secrets", "folder", at), Text: name})
		}
	}
	all[len(all)-1].Current = true
	return all
}

// Crumbs are the folders from the root to this one.
func (t *secretTable) Crumbs() []link { return crumbs(t.Folder) }

func showSecrets(v *visit) error {
	t, status, err := v.readSecrets()
	if err != nil {
		return err
	}
	return v.showAs(status, v.page.title, "secrets", t)
}

// showSecretRows answers the script: with the table alone.
func showSecretRows(v *visit) error {
	t, status, err := v.readSecrets()
	if err != nil {
		return err
	}
	return v.execute(status, templates()["secrets"], "rows", t)
}

// readSecrets reads what the address of the page asks for.
func (v *visit) readSecrets() (*secretTable, int, error) {
	t := &secretTable{Folder: strings.Trim(v.query("folder"), "/"), Search: strings.TrimSpace(v.query("search"))}
	t.MayCreate = v.mayCreateBelow(t.Folder)
	read := v.readFolder
	if t.Search != "" {
		read = v.searchSecrets
	}
	err := read(t, v.query("after"))
	for i := range t.Rows {
		t.Rows[i].MayDelete = !t.Rows[i].IsFolder && v.may("delete", t.Rows[i].Path)
	}
	var refused *client.Error
	if errors.Is(err, client.ErrDenied) && errors.As(err, &refused) {
		t.Missing, t.Sealed = sentence(refused.Description), v.bar().State == "sealed"
		return t, http.StatusForbidden, nil
	}
	return t, http.StatusOK, err
}

func (v *visit) readFolder(t *secretTable, after string) error {
	entries, err := v.api.Detailed().Children(v.ctx(), t.Folder, after, rowsOfSecrets)
	if err != nil {
		return err
	}
	for i, e := range entries.Array {
		row := secretRow{Name: e.Name, Path: path.Join(t.Folder, e.Name), IsFolder: e.Secrets > 0, Secrets: counted(e.Secrets)}
		if i < len(entries.Details) {
			row.describe(entries.Details[i])
		}
		t.Rows = append(t.Rows, row)
	}
	t.Count, t.Incomplete = counted(entries.Total), entries.Incomplete
	if entries.Next != "" {
		t.Next = address("secrets", "folder", t.Folder, "after", entries.Next)
	}
	return nil
}

func (v *visit) searchSecrets(t *secretTable, after string) error {
	found, err := v.api.Detailed().Search(v.ctx(), t.Folder, t.Search, after, rowsOfSecrets)
	if err != nil {
		return err
	}
	t.Rows = rowsOf(t.Folder, found.Array, found.Details)
	t.Count, t.Incomplete = number(found.Matches)+" of "+counted(found.Total), found.Incomplete
	if found.Next != "" {
		t.Next = address("secrets", "folder", t.Folder, "search", t.Search, "after", found.Next)
	}
	return nil
}

// describe fills in what the user may know of a secret.
func (r *secretRow) describe(d *wire.Detail) {
	if d != nil {
		r.Known, r.Kind, r.Version, r.Written, r.By, r.Deleted = true, d.Kind, d.Version, d.Written, d.Author, d.Deleted
	}
}

// rowsOf returns rows for the secrets with these names in a folder.
func rowsOf(folder string, names []string, details []*wire.Detail) []secretRow {
	rows := make([]secretRow, len(names))
	for i, name := range names {
		rows[i] = secretRow{Name: name, Path: path.Join(folder, name)}
		if i < len(details) {
			rows[i].describe(details[i])
		}
	}
	return rows
}

// number is a number for people.
func number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func counted(n int) string {
	if n == 1 {
		return "1 secret"
	}
	return number(n) + " secrets"
}

// deletion is the data of the page that asks whether to delete secrets.
type deletion struct {
	Folder  string
	Paths   []string
	Confirm string // what the user has to type
	Problem string
}

// deleted is the data of the page that says which secrets were deleted.
type deleted struct {
	Folder   string
	Paths    []string
	Failures []string
}

// changeSecrets deletes the secrets that were chosen, once the user has typed how
// many they are.
func changeSecrets(v *visit) error {
	d := deletion{Folder: v.form.text("folder"), Paths: v.form.all("path")}
	if len(d.Paths) == 0 {
		return &refusal{http.StatusBadRequest, "Choose the secrets to delete first."}
	}
	d.Confirm = fmt.Sprintf("delete %d", len(d.Paths))
	if got := v.form.text("confirm"); got != d.Confirm {
		status := http.StatusOK
		if v.form.has("confirm") {
			d.Problem, status = "Nothing was deleted: type "+d.Confirm+" to confirm.", http.StatusBadRequest
		}
		return v.showAs(status, "Delete secrets", "secrets-delete", d)
	}
	done := deleted{Folder: d.Folder}
	for _, p := range d.Paths {
		err := v.api.Delete(v.ctx(), p)
		var refused *client.Error
		switch {
		case err == nil:
			done.Paths = append(done.Paths, p)
		case errors.As(err, &refused):
			done.Failures = append(done.Failures, p+": "+refused.Description)
		default:
			return err
		}
	}
	return v.showAs(http.StatusOK, "Deleted secrets", "secrets-deleted", done)
}

// bin is the data of the page with deleted secrets.
type bin struct {
	Folder     string
	Rows       []secretRow
	Next       string
	Incomplete bool
	Missing    string
	Sealed     bool // as in secretTable
}

// Crumbs are the folders from the root to this one.
func (b *bin) Crumbs() []link { return crumbs(b.Folder) }

func showDeleted(v *visit) error {
	b := &bin{Folder: strings.Trim(v.query("folder"), "/")}
	list, err := v.api.Detailed().ListDeletedPage(v.ctx(), b.Folder, v.query("after"), rowsOfSecrets)
	var refused *client.Error
	if errors.Is(err, client.ErrDenied) && errors.As(err, &refused) {
		b.Missing, b.Sealed = sentence(refused.Description), v.bar().State == "sealed"
		return v.showAs(http.StatusForbidden, v.page.title, "deleted", b)
	}
	if err != nil {
		return err
	}
	b.Rows, b.Incomplete = rowsOf(b.Folder, list.Array, list.Details), list.Incomplete
	for i := range b.Rows {
		r := &b.Rows[i]
		r.MayUndelete = v.may("create", r.Path)
		if r.Deleted != nil {
			r.Until = new(r.Deleted.Add(undeleteFor))
		}
	}
	if list.Next != "" {
		b.Next = address("deleted", "folder", b.Folder, "after", list.Next)
	}
	return v.show("deleted", b)
}

// undelete restores a deleted secret.
func undelete(v *visit) error {
	p := v.form.text("path")
	if _, err := v.api.Undelete(v.ctx(), p); err != nil {
		return err
	}
	return v.redirect("undeleted", "secret", "path", p)
}
