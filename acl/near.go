package acl

import (
	"cmp"
	"iter"
	"slices"
	"strings"
)

// maxNear is how many grants an explanation names that nearly allow a request.
const maxNear = 5

// nearest returns the grants that come nearest to one of the missing permissions.
func nearest(missing []Permission, grants iter.Seq[Because]) []Because {
	type candidate struct {
		Because
		distance distance
	}
	var all []candidate
	for b := range grants {
		var least distance
		for _, m := range missing {
			if d := b.Grant.distanceTo(m); d != far && (least == far || d.compare(least) < 0) {
				least = d
			}
		}
		if least == far {
			continue
		}
		all = append(all, candidate{b, least})
		if len(all) > 2*maxNear { // of a user with many grants, few are kept
			slices.SortStableFunc(all, func(a, b candidate) int { return a.distance.compare(b.distance) })
			all = all[:maxNear]
		}
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return a.distance.compare(b.distance) })
	var found []Because
	for _, c := range all[:min(len(all), maxNear)] {
		found = append(found, c.Because)
	}
	return found
}

// distance is how far a grant is from a permission. The zero value is too far.
type distance struct {
	class  int // one of the constants below; smaller is nearer
	common int // folders at the beginning that are the same; more are nearer
}

const (
	otherAction   = iota + 1 // on the resource, for another action
	otherResource            // of the same kind, below the same folder
	otherKind                // such as the list of the folder in place of the secret
)

var far distance

func (d distance) compare(o distance) int {
	return cmp.Or(cmp.Compare(d.class, o.class), cmp.Compare(o.common, d.common))
}

// distanceTo returns how far the grant is from a permission that it does not give.
func (g *Grant) distanceTo(m Permission) distance {
	if m.Resource.kind < kindSecret || m.Resource.kind > kindResolve || g.Action < Create || g.Action > Full {
		return far
	}
	common := commonFolders(g.Pattern.rest, m.Resource.rest)
	if m.Resource.folders(g.Pattern.Matches) {
		return distance{otherAction, common}
	}
	for k := kindSecret; k <= kindResolve; k++ {
		other := Resource{k, m.Resource.rest}
		switch {
		case !g.Pattern.kinds.has(k):
		case k == m.Resource.kind && common > 0:
			return distance{otherResource, common}
		case k != m.Resource.kind && (common > 0 || other.folders(g.Pattern.Matches)):
			return distance{otherKind, common}
		}
	}
	return far
}

// commonFolders returns how many components of two paths are the same from the
// beginning.
func commonFolders(a, b string) int {
	n := 0
	for a != "" && b != "" {
		var x, y string
		x, a, _ = strings.Cut(a, "/")
		y, b, _ = strings.Cut(b, "/")
		if x != y {
			break
		}
		n++
	}
	return n
}
