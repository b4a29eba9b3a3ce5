package migrate

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf16"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"secretstore/internal/vault"
)

const (
	// maxMembers bounds the different members that are counted for each mount, and
	// shownMembers those that are printed for people.
	maxMembers   = 10_000
	shownMembers = 40
)

// Report says what a source holds: names and counts, and no values.
type Report struct {
	Mounts []*MountReport `json:"mounts"`
	// Names are the names that cannot be used, each with a proposal.
	Names renames `json:"names,omitempty"`

	why       map[string]string // of Names
	byMount   map[*vault.Mount]*MountReport
	undecided int
	rounded   int
	seen      map[string]bool // the names of all records
}

// MountReport counts the secrets of a mount.
type MountReport struct {
	Mount string `json:"mount"`
	Kind  string `json:"kind"`
	// Secrets have a value. Deleted, Destroyed and Empty ones have none, and are
	// left out. Damaged ones could not be read.
	Secrets   int `json:"secrets"`
	Deleted   int `json:"deleted"`
	Destroyed int `json:"destroyed"`
	Empty     int `json:"empty"`
	Damaged   int `json:"damaged"`
	// Text is how many have nothing but their text or bytes.
	Text    int                      `json:"text"`
	Members map[string]*MemberReport `json:"members"`
	more    int                      // members beyond those counted
}

// MemberReport counts a member of the objects in a mount.
type MemberReport struct {
	Secrets int            `json:"secrets"`
	Types   map[string]int `json:"types"`
}

func newReport(inv *inventory) *Report {
	r := &Report{Mounts: []*MountReport{}, byMount: map[*vault.Mount]*MountReport{}, seen: map[string]bool{}}
	for _, m := range inv.mounts {
		mr := &MountReport{Mount: m.Namespace + m.Path, Kind: m.Kind, Deleted: m.Deleted, Destroyed: m.Destroyed, Empty: m.Valueless, Damaged: m.Damaged, Members: map[string]*MemberReport{}}
		r.Mounts = append(r.Mounts, mr)
		r.byMount[m] = mr
	}
	for _, rec := range inv.records {
		r.seen[rec.name] = true
	}
	slices.SortFunc(r.Mounts, func(a, b *MountReport) int { return strings.Compare(a.Mount, b.Mount) })
	return r
}

func (r *Report) damaged(rec record) { r.byMount[rec.mount].Damaged++ }

// count counts the members of a record's current version.
func (r *Report) count(rec record, c content, m mapping) {
	mr := r.byMount[rec.mount]
	mr.Secrets++
	if c.item != nil {
		mr.Text++
		return
	}
	for _, o := range c.objects {
		if o.HasBigInteger() {
			r.rounded++
			break
		}
	}
	o := c.objects[len(c.objects)-1]
	if m.only(o) {
		mr.Text++
	}
	for _, member := range o.Members {
		mem := mr.Members[member.Name]
		if mem == nil {
			if len(mr.Members) == maxMembers {
				mr.more++
				continue
			}
			mem = &MemberReport{Types: map[string]int{}}
			mr.Members[member.Name] = mem
		}
		mem.Secrets++
		mem.Types[member.Kind()]++
	}
}

// unusable counts the names that cannot be used, whatever --as says.
func (r *Report) unusable() (n int) {
	for name := range r.Names {
		if r.why[name] != badMember {
			n++
		}
	}
	return n
}

// Print writes the report for people.
func (r *Report) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MOUNT\tKIND\tSECRETS\tJUST TEXT\tDELETED\tDESTROYED\tEMPTY\tDAMAGED")
	for _, m := range r.Mounts {
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\n", quoted(m.Mount), m.Kind, m.Secrets, m.Text, m.Deleted, m.Destroyed, m.Empty, m.Damaged)
	}
	members := 0
	for _, m := range r.Mounts {
		for i, name := range m.names() {
			if members++; members == 1 {
				fmt.Fprintln(t, "\nMOUNT\tMEMBER\tSECRETS\tTYPES")
			}
			if i == shownMembers {
				fmt.Fprintf(t, "%s\t(%d more)\t\t\n", quoted(m.Mount), len(m.Members)-shownMembers+m.more)
				break
			}
			mem := m.Members[name]
			fmt.Fprintf(t, "%s\t%s\t%d\t%s\n", quoted(m.Mount), quoted(name), mem.Secrets, strings.Join(slices.Sorted(maps.Keys(mem.Types)), ", "))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return r.printNames(w)
}

// names returns the members, the most frequent first.
func (m *MountReport) names() []string {
	return slices.SortedFunc(maps.Keys(m.Members), func(a, b string) int {
		return cmp.Or(cmp.Compare(m.Members[b].Secrets, m.Members[a].Secrets), strings.Compare(a, b))
	})
}

// printNames writes the proposals in the form of --rename.
func (r *Report) printNames(w io.Writer) error {
	if len(r.Names) == 0 {
		return nil
	}
	fmt.Fprintln(w, "\nThese names cannot be used here. A file for --rename (null in place of a path leaves a secret out):")
	text, err := json.Marshal(r.Names, jsontext.WithIndent("  "), json.Deterministic(true))
	if err != nil {
		return errors.New("internal error: the proposals cannot be encoded") // strings and null only
	}
	if _, err := fmt.Fprintln(w, graphic(text)); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(r.why)) {
		if why := r.why[name]; why != badName {
			fmt.Fprintf(w, "%s: %s\n", quoted(name), why)
		}
	}
	return nil
}

// graphic escapes in JSON what could drive a terminal: JSON itself escapes only some of
// that.
func graphic(text []byte) string {
	var b strings.Builder
	for _, r := range string(text) {
		switch {
		case r == '\n' || unicode.IsGraphic(r):
			b.WriteRune(r)
		default:
			for _, u := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&b, `\u%04x`, u)
			}
		}
	}
	return b.String()
}
