package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/internal/linediff"
)

// undeleteFor is how long a deleted secret can be undeleted.
const undeleteFor = 30 * 24 * time.Hour

// secretPage is the data of the page of one secret.
type secretPage struct {
	Path    string
	Folder  string
	Exists  bool   // it is there, or was deleted; only known if it may be read
	Free    bool   // it can be created
	Missing string // why it may not be read; "" if it may
	May     rights
	wire.Versions
	Until   time.Time // it can be undeleted until then
	Current wire.Version
	Earlier bool // there are earlier versions
	Shown   *shownValue
	Problem string // with what the user asked for
}

// shownValue is a value that the user wants to see, or what can be said of it.
type shownValue struct {
	Version uint64
	Binary  bool
	Bytes   string
	SHA256  string // of a binary value: that of a password would help to guess it
	About   string
	Marker  string // where the text is, see visit.slot
}

func showSecret(v *visit) error { return v.secretPage(http.StatusOK, "", nil) }

// secretPage shows a secret, without its value unless the user asked for that.
func (v *visit) secretPage(status int, problem string, shown *shownValue) error {
	p := &secretPage{Path: v.pathOfSecret(), Shown: shown, Problem: problem}
	if p.Path == "" {
		return &refusal{http.StatusBadRequest, "The address names no secret."}
	}
	p.Folder, p.May = folderOf(p.Path), v.rightsTo(p.Path)
	versions, err := v.api.Versions(v.ctx(), p.Path)
	var refused *client.Error
	switch {
	case errors.Is(err, client.ErrDenied) && errors.As(err, &refused):
		p.Missing = sentence(refused.Description)
	case errors.Is(err, client.ErrNotFound) && errors.As(err, &refused):
		p.Free = strings.Contains(refused.Description, "does not exist")
		if p.Problem == "" && p.Free {
			p.Problem, status = "There is no secret with this path.", http.StatusNotFound
		} else if p.Problem == "" {
			p.Problem, status = sentence(refused.Description), http.StatusNotFound
		}
	case err != nil:
		return err
	default:
		p.Exists, p.Versions, p.Current, p.Earlier = true, versions, versions.Versions[0], len(versions.Versions) > 1
		if versions.Deleted != nil {
			p.Until = versions.Deleted.Add(undeleteFor)
		}
	}
	return v.showAs(status, p.Path, "secret", p)
}

// pathOfSecret returns the path that a form or the address names.
func (v *visit) pathOfSecret() string {
	if v.form != nil {
		return strings.Trim(v.form.text("path"), "/")
	}
	return strings.Trim(v.query("path"), "/")
}

func folderOf(p string) string {
	if folder := path.Dir(p); folder != "." {
		return folder
	}
	return ""
}

// changeSecret does what a button on the page of a secret says.
func changeSecret(v *visit) error {
	p := v.pathOfSecret()
	version, err := versionIn(v.form.text("version"))
	if err != nil {
		return err
	}
	switch v.form.text("do") {
	case "show":
		return v.showValue(p, version)
	case "delete":
		if err := v.api.Delete(v.ctx(), p); err != nil {
			return err
		}
		return v.redirect("binned", "secret", "path", p)
	case "undelete":
		if _, err := v.api.Undelete(v.ctx(), p); err != nil {
			return err
		}
		return v.redirect("undeleted", "secret", "path", p)
	case "restore":
		return v.restore(p, version)
	case "remove":
		if err := v.api.DeleteVersion(v.ctx(), p, version); err != nil {
			return err
		}
		return v.redirect("removed", "secret", "path", p)
	case "purge":
		if v.form.text("confirm") != "purge" {
			return v.secretPage(http.StatusBadRequest, "Nothing was purged: type purge to confirm.", nil)
		}
		if err := v.api.Purge(v.ctx(), p); err != nil {
			return err
		}
		return v.redirect("purged", "secrets", "folder", folderOf(p))
	}
	return errNoSuchForm
}

// versionIn reads the number of a version; "" is 0, the current one.
func versionIn(text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, &refusal{http.StatusBadRequest, "The version is not a number."}
	}
	return n, nil
}

// hideAgain has a browser without script leave a page with a value.
func (v *visit) hideAgain(to string) { v.w.Header().Set("Refresh", "30; url="+to) }

// showValue answers with the page of the secret, and the value on it.
func (v *visit) showValue(p string, version uint64) error {
	s, err := v.holding(v.api.Get(v.ctx(), p, client.GetOptions{Version: version}))
	if err != nil {
		return err
	}
	shown := v.shown(s)
	shown.Version = version
	v.hideAgain(address("secret", "path", p))
	return v.secretPage(http.StatusOK, "", shown)
}

// shown prepares a value to be shown. The value then belongs to the visit.
func (v *visit) shown(s client.Secret) *shownValue {
	shown := &shownValue{Binary: s.Binary || !utf8.Valid(s.Value), Bytes: number(len(s.Value)) + " bytes", About: about(s.Value)}
	if shown.Binary {
		sum := sha256.Sum256(s.Value)
		shown.SHA256 = hex.EncodeToString(sum[:])
		clear(s.Value)
		return shown
	}
	shown.Marker = v.slot(s.Value)
	return shown
}

// about says how large a text is, and how it ends.
func about(text []byte) string {
	lines := bytes.Count(text, []byte("\n"))
	end := "ends with a newline"
	if !bytes.HasSuffix(text, []byte("\n")) {
		end = "does not end with a newline"
		if len(text) > 0 {
			lines++
		}
	}
	return fmt.Sprintf("%s, %s, %s", plural(len(text), "byte"), plural(lines, "line"), end)
}

func plural(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return number(n) + " " + of + "s"
}

// restore writes an earlier value again, unless somebody else changes the secret at
// the same time.
func (v *visit) restore(p string, version uint64) error {
	versions, err := v.api.Versions(v.ctx(), p)
	if err != nil {
		return err
	}
	old, err := v.holding(v.api.Get(v.ctx(), p, client.GetOptions{Version: version}))
	if err != nil {
		return err
	}
	defer clear(old.Value)
	_, err = v.api.IfMatch(versions.Versions[0].ETag).Update(v.ctx(), p, client.Value{Data: old.Value, Binary: old.Binary})
	if errors.Is(err, client.ErrChanged) {
		return v.secretPage(http.StatusPreconditionFailed, "Nothing was restored: somebody else has just changed the secret.", nil)
	}
	if err != nil {
		return err
	}
	return v.redirect("restored", "secret", "path", p)
}

// sendValue answers with the value alone, for a download or for the clipboard.
func sendValue(v *visit) error {
	p := v.pathOfSecret()
	version, err := versionIn(v.form.text("version"))
	if err != nil {
		return err
	}
	s, err := v.holding(v.api.Get(v.ctx(), p, client.GetOptions{Version: version}))
	if err != nil {
		return err
	}
	defer clear(s.Value)
	// The name of a secret has no characters that would have to be quoted.
	v.w.Header().Set("Content-Disposition", `attachment; filename="`+path.Base(p)+`"`)
	v.w.Header().Set("Content-Type", "application/octet-stream")
	v.w.WriteHeader(http.StatusOK)
	_, _ = v.w.Write(s.Value) // an error means that the client has left
	return nil
}

// comparison is the data of the page that compares two versions.
type comparison struct {
	Path     string
	From, To uint64
	Versions []wire.Version
	Sides    []shownValue // of binary values
	Same     bool
	TooLong  bool   // to be compared
	Masked   string // the difference without the lines of the values
	Marker   string // where the difference is, see visit.slot
}

func compareVersions(v *visit) error { return v.compare(v.query("from"), v.query("to"), false) }

// showComparison is compareVersions with the values.
func showComparison(v *visit) error { return v.compare(v.form.text("from"), v.form.text("to"), true) }

func (v *visit) compare(from, to string, show bool) (err error) {
	c := &comparison{Path: v.pathOfSecret()}
	if c.From, err = versionIn(from); err != nil {
		return err
	}
	if c.To, err = versionIn(to); err != nil {
		return err
	}
	versions, err := v.api.Versions(v.ctx(), c.Path)
	if err != nil {
		return err
	}
	c.Versions = versions.Versions
	if c.From == 0 || c.To == 0 {
		return v.showAs(http.StatusOK, "Compare versions", "secret-compare", c)
	}
	both, err := v.readPair(c.Path, c.From, c.To)
	if err != nil {
		return err
	}
	defer both.clear()
	c.Same = bytes.Equal(both.old.Value, both.latest.Value)
	if both.isBinary() {
		for i, s := range []client.Secret{both.old, both.latest} {
			sum := sha256.Sum256(s.Value)
			c.Sides = append(c.Sides, shownValue{Version: []uint64{c.From, c.To}[i], Binary: s.Binary, Bytes: number(len(s.Value)) + " bytes", SHA256: hex.EncodeToString(sum[:])})
		}
		return v.showAs(http.StatusOK, "Compare versions", "secret-compare", c)
	}
	if c.TooLong = !c.Same && both.isLong(); c.TooLong {
		return v.showAs(http.StatusOK, "Compare versions", "secret-compare", c)
	}
	text, err := v.difference(both)
	if err != nil {
		return err
	}
	if show {
		c.Marker = v.slot(text)
		v.hideAgain(address("secret-compare", "path", c.Path, "from", from, "to", to))
	} else {
		c.Masked = string(linediff.Mask(text))
		clear(text)
	}
	return v.showAs(http.StatusOK, "Compare versions", "secret-compare", c)
}

// pair is two versions of a secret.
type pair struct {
	old, latest client.Secret
	from, to    uint64
}

// readPair reads two versions of a secret. The caller clears them.
func (v *visit) readPair(p string, from, to uint64) (*pair, error) {
	old, err := v.holding(v.api.Get(v.ctx(), p, client.GetOptions{Version: from}))
	if err != nil {
		return nil, err
	}
	latest, err := v.holding(v.api.Get(v.ctx(), p, client.GetOptions{Version: to}))
	if err != nil {
		clear(old.Value)
		return nil, err
	}
	return &pair{old, latest, from, to}, nil
}

func (p *pair) clear() {
	clear(p.old.Value)
	clear(p.latest.Value)
}

func (p *pair) isBinary() bool { return p.old.Binary || p.latest.Binary }

const (
	// maxLines is the number of lines up to which a page compares texts, and says so:
	// a line takes more memory than its bytes.
	maxLines = 5000
	// perCompared is how many bytes a difference takes while it is made, for each byte
	// of the texts.
	perCompared = 4
)

// isLong reports whether the texts have too many lines to be compared.
func (p *pair) isLong() bool {
	newline := []byte("\n")
	return max(bytes.Count(p.old.Value, newline), bytes.Count(p.latest.Value, newline)) > maxLines
}

// difference returns the difference of two texts that are not too long. The caller
// clears it.
func (v *visit) difference(p *pair) ([]byte, error) {
	if err := v.hold(perCompared * (len(p.old.Value) + len(p.latest.Value))); err != nil {
		return nil, err
	}
	return linediff.Compare(fmt.Sprintf("version %d", p.from), p.old.Value, fmt.Sprintf("version %d", p.to), p.latest.Value), nil
}

// readers is the data of the page that says who can do what with a secret.
type readers struct {
	Path   string
	UID    string             // who was asked about
	Others bool               // the user may ask about others
	Who    []wire.WhoCan      // for superusers
	Why    []wire.Explanation // what UID may do
}

func showReaders(v *visit) error {
	p := &readers{Path: v.pathOfSecret(), UID: v.query("uid")}
	for _, action := range []string{"read", "create", "update", "delete"} {
		why, err := v.api.Explain(v.ctx(), client.Question{Action: action, Path: p.Path, UID: p.UID})
		if err != nil {
			return err
		}
		p.UID = why.UID
		p.Why = append(p.Why, why)
	}
	for _, action := range []string{"read", "update", "delete"} {
		who, err := v.api.WhoCan(v.ctx(), action, p.Path)
		if errors.Is(err, client.ErrDenied) {
			return v.show("secret-access", p)
		}
		if err != nil {
			return err
		}
		p.Who, p.Others = append(p.Who, who), true
	}
	return v.show("secret-access", p)
}
