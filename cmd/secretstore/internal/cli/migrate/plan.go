package migrate

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"secretstore/acl"
	"secretstore/cmd/secretstore/internal/cli/base"
	"secretstore/cmd/secretstore/internal/forms"
	"secretstore/internal/vault"
)

// atOnce is how many secrets of a source are read at a time.
const atOnce = 8

// Failure is a secret that is not imported, and why.
type Failure struct{ Name, Why string }

// Plan says what becomes of each secret of a source. Nothing was written yet.
type Plan struct {
	Report  *Report
	Sources []forms.Source
	Failed  []Failure
	// Blocked is why the import must not begin; nil if it may.
	Blocked error

	origin origin

	mu       sync.Mutex
	imported map[string]checksum // of each record as it was imported; guarded by mu
}

// checksum is a hash of what a record holds.
type checksum [sha256.Size]byte

// survey is a plan in the making.
type survey struct {
	mapping mapping
	places  *places
	plan    *Plan

	mu    sync.Mutex
	found []finding  // what each record becomes; guarded by mu
	room  vault.Room // of their members; guarded by mu
}

// finding is what a record becomes: secrets with the names of members, "" for the
// whole record. If only the user can say that, they are all members that it has.
type finding struct {
	undecided bool
	members   []string
}

// NewPlan reads all secrets of the source once, and decides what they become.
func (o *Origin) NewPlan(ctx context.Context, p *base.Process, under acl.Path) (*Plan, error) {
	line := base.NewProgress(p)
	defer line.End()
	line.Show("reading the names")
	inv, err := o.origin.list(ctx)
	if err != nil {
		return nil, err
	}
	plan := &Plan{Report: newReport(inv), origin: o.origin, imported: map[string]checksum{}}
	s := &survey{mapping: o.mapping, places: newPlaces(o.renames, under), plan: plan, found: make([]finding, len(inv.records))}
	for _, w := range inv.warnings {
		fmt.Fprintf(p.Stderr, "secretstore: warning: %s\n", base.OneLine(w))
	}
	for _, problem := range inv.problems {
		plan.fail(quoted(problem.Name), problem.Err)
	}
	if inv.more > 0 {
		plan.fail("(more)", fmt.Errorf("%d further records could not be read", inv.more))
	}
	if err := s.readAll(ctx, inv, line.Bar); err != nil {
		return nil, err
	}
	s.choose(inv)
	if plan.Report.rounded > 0 && inv.rounds {
		fmt.Fprintf(p.Stderr, "secretstore: warning: %d secrets have integers of 2^53 or more, and the API of KV v2 rounds those; "+
			"an import from the storage keeps every digit\n", plan.Report.rounded)
	}
	return plan, nil
}

func (p *Plan) fail(name string, err error) {
	p.Failed = append(p.Failed, Failure{name, base.OneLine(err.Error())})
}

// readAll reads each record, to see what it becomes.
func (s *survey) readAll(ctx context.Context, inv *inventory, progress func(done, total int)) error {
	g, running := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	done := 0
	for n, r := range inv.records {
		if running.Err() != nil {
			break
		}
		g.Go(func() error {
			c, err := r.read(running)
			if err != nil && !vault.IsDamage(err) {
				return err
			}
			defer c.clear()
			s.mu.Lock()
			defer s.mu.Unlock()
			s.note(n, r, c, err)
			for _, member := range s.found[n].members {
				if err := s.room.Take(withMember(r.name, member)); err != nil {
					return failedSource(err)
				}
			}
			done++
			progress(done, len(inv.records))
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// note takes down the shape of a record, and never a value.
func (s *survey) note(n int, r record, c content, err error) {
	rep := s.plan.Report
	s.places.see(r.name)
	if err != nil {
		rep.damaged(r)
		s.plan.fail(quoted(r.name), err)
		return
	}
	rep.count(r, c, s.mapping)
	all, err := s.mapping.items(c)
	defer clearItems(all)
	switch {
	case errors.Is(err, errUndecided):
		rep.undecided++
		s.found[n] = finding{undecided: true, members: c.members()}
	case err != nil:
		s.plan.fail(quoted(r.name), err)
	}
	for _, i := range all {
		s.found[n].members = append(s.found[n].members, i.member)
	}
	for _, member := range c.members() {
		s.places.see(withMember(r.name, member))
	}
}

// items returns what a record becomes: one item, or one for each member, each with its
// earlier versions.
func (m mapping) items(c content) (all []part, err error) {
	if c.item != nil {
		item := *c.item
		item.Value = slices.Clone(c.item.Value)
		return []part{{"", item}}, nil
	}
	at := map[string]int{} // in all, by member
	for n, o := range c.objects {
		parts, err := m.parts(o)
		if err != nil {
			clearItems(all)
			return nil, err
		}
		for _, next := range parts {
			next.item.Labels = nonEmpty(c.labels)
			if i, ok := at[next.member]; ok {
				earlier := all[i].item
				next.item.Earlier = append(earlier.Earlier, earlier)
				next.item.Earlier[len(next.item.Earlier)-1].Earlier = nil
				all[i] = next
			} else {
				at[next.member] = len(all)
				all = append(all, next)
			}
		}
		if n == len(c.objects)-1 { // what the current version does not have is not there
			all = slices.DeleteFunc(all, func(p part) bool {
				gone := !slices.ContainsFunc(parts, func(q part) bool { return q.member == p.member })
				if gone {
					clearItem(p.item)
				}
				return gone
			})
		}
	}
	return all, nil
}

func nonEmpty(labels []string) *[]string {
	if len(labels) == 0 {
		return nil
	}
	return &labels
}

func clearItems(all []part) {
	for _, p := range all {
		clearItem(p.item)
	}
}

func clearItem(i forms.Item) {
	clear(i.Value)
	for _, e := range i.Earlier {
		clear(e.Value)
	}
}

// choose finds the paths, and makes the sources, in the order of names.
func (s *survey) choose(inv *inventory) {
	order := make([]int, len(inv.records))
	for n := range order {
		order[n] = n
	}
	slices.SortFunc(order, func(a, b int) int { return strings.Compare(inv.records[a].name, inv.records[b].name) })
	for _, n := range order {
		r := inv.records[n]
		if s.found[n].undecided {
			s.places.propose(target{name: r.name, path: r.path}, s.found[n].members)
			continue
		}
		for _, member := range s.found[n].members {
			if path, ok := s.places.place(target{r.name, r.path, member}); ok {
				s.plan.Sources = append(s.plan.Sources, s.source(r, s.found[n].members, member, path))
			}
		}
	}
	rep := s.plan.Report
	rep.Names, rep.why = s.places.proposals(), s.places.why
	var why []string
	if rep.undecided > 0 {
		why = append(why, fmt.Sprintf("%d secrets are objects that are not just the text %q; say with --as what they become", rep.undecided, s.mapping.valueKey))
	}
	if n := rep.unusable(); n > 0 {
		why = append(why, fmt.Sprintf("%d secrets have names that cannot be used here; give them others with --rename", n))
	}
	if unused := s.places.unused(); len(unused) > 0 {
		why = append(why, fmt.Sprintf("--rename names %d secrets that are not in the source, such as %.200q", len(unused), unused[0]))
	}
	if len(why) > 0 {
		s.plan.Blocked = errors.New(strings.Join(why, "\n"))
	}
}

// source reads a record again when it is its turn. It is to become these members, of which
// this is one.
func (s *survey) source(r record, members []string, member, path string) forms.Source {
	return forms.Source{Path: path, Read: func(ctx context.Context) (forms.Item, error) {
		c, err := r.read(ctx)
		if err != nil {
			return forms.Item{}, err
		}
		defer c.clear()
		all, err := s.mapping.items(c)
		if err != nil {
			return forms.Item{}, err
		}
		same := slices.EqualFunc(all, members, func(p part, member string) bool { return p.member == member })
		s.plan.remember(r.name, c, same)
		var item forms.Item
		found := false
		for _, p := range all {
			if p.member == member {
				item, found = p.item, true
			} else {
				clearItem(p.item)
			}
		}
		if !found {
			return forms.Item{}, errors.New("changed while the source was read; run the import again")
		}
		item.Path = path
		return item, nil
	}}
}

// remember takes down what is imported of a record. same: it becomes the same members as
// before. If not, or if another of its members was imported from other content, no content
// is what was imported.
func (p *Plan) remember(name string, c content, same bool) {
	sum := checksumOf(c)
	p.mu.Lock()
	defer p.mu.Unlock()
	if earlier, ok := p.imported[name]; !same || ok && earlier != sum {
		sum = checksum{}
	}
	p.imported[name] = sum
}

// checksumOf hashes what a record holds.
func checksumOf(c content) (sum checksum) {
	h := sha256.New()
	add := func(data []byte) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(data))))
		h.Write(data)
	}
	for _, o := range c.objects {
		add(o.JSON())
	}
	labels := c.labels
	if c.item != nil {
		add(c.item.Value)
		if c.item.Description != nil {
			add([]byte(*c.item.Description))
		}
		if c.item.Labels != nil {
			labels = *c.item.Labels
		}
	}
	for _, l := range labels {
		add([]byte(l))
	}
	h.Sum(sum[:0])
	return sum
}

// Changes lists the source again after the import, and returns the secrets that are
// not there as they were imported: somebody has written to it meanwhile.
func (p *Plan) Changes(ctx context.Context, process *base.Process) (changed []Failure, err error) {
	if !p.origin.changes() {
		return nil, nil
	}
	line := base.NewProgress(process)
	defer line.End()
	line.Show("reading the names again")
	inv, err := p.origin.list(ctx)
	if err != nil {
		return nil, err
	}
	const again = "; run the import again"
	var mu sync.Mutex // guards changed and seen
	seen := map[string]bool{}
	known := map[string]bool{}
	for _, f := range p.Failed {
		known[f.Name] = true
	}
	g, running := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for _, r := range inv.records {
		g.Go(func() error {
			c, err := r.read(running)
			if err != nil && !vault.IsDamage(err) {
				return err
			}
			defer c.clear()
			mu.Lock()
			defer mu.Unlock()
			seen[r.name] = true
			sum, ok := p.imported[r.name]
			switch {
			case known[quoted(r.name)]:
			case err != nil && ok:
				changed = append(changed, Failure{quoted(r.name), base.OneLine(fmt.Sprintf("was imported, but cannot be read again: %v", err))})
			case err != nil:
			case !ok && !p.Report.seen[r.name]:
				changed = append(changed, Failure{quoted(r.name), "is new in the source" + again})
			case ok && sum != checksumOf(c):
				changed = append(changed, Failure{quoted(r.name), "has changed in the source" + again})
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for name := range p.imported {
		if !seen[name] {
			changed = append(changed, Failure{quoted(name), "was imported, but has since gone from the source"})
		}
	}
	return changed, nil
}
