package acl

import (
	"maps"
	"slices"
)

// FileEntry is a user or a group of a policy file.
type FileEntry struct {
	UID     string // of a user; "" for a group
	Group   string
	Grants  []Grant
	Members []string // of a group, in order
}

// FileEntries returns what the policy file says, to copy it elsewhere: the groups in
// its order, then the users in order.
func (p *Policy) FileEntries() []FileEntry {
	if p == nil {
		return nil
	}
	members := make(map[*Grants][]string)
	var users []FileEntry
	for _, uid := range slices.Sorted(maps.Keys(p.users)) {
		for _, h := range p.users[uid] {
			switch of := h.Holder(); {
			case of.Source != PolicyFile:
			case of.Group != "":
				members[h.Grants] = append(members[h.Grants], uid)
			default:
				users = append(users, FileEntry{UID: uid, Grants: slices.Clone(h.list)})
			}
		}
	}
	var all []FileEntry
	for _, g := range p.groups {
		all = append(all, FileEntry{Group: g.Holder().Group, Grants: slices.Clone(g.list), Members: members[g]})
	}
	return append(all, users...)
}
