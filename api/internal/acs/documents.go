package acs

import (
	"slices"
	"strings"

	"secretstore/api/wire"
	"secretstore/iam"
)

func userURL(uid iam.UID) string                { return Users + "/" + string(uid) }
func groupURL(gid iam.GID) string               { return Groups + "/" + string(gid) }
func aclURL(name string) string                 { return ACLs + "/" + strings.ReplaceAll(name, "/", "%252F") }
func memberURL(gid iam.GID, uid iam.UID) string { return groupURL(gid) + "/users/" + string(uid) }

func userDocument(u *iam.User) wire.User {
	doc := wire.User{UID: string(u.UID), URL: userURL(u.UID), Description: u.Description, IsRemote: u.IsRemote(), IsService: u.IsService(),
		ProviderType: string(u.Provider.Type), ProviderID: u.Provider.ID}
	if u.IsService() {
		doc.PublicKey = u.Keys[0].PEM
	}
	return doc
}

func groupDocument(g *iam.Group) wire.Group {
	return wire.Group{GID: string(g.GID), URL: groupURL(g.GID), Description: g.Description, ProviderType: string(g.Provider)}
}

func aclDocument(a *iam.ACL) wire.ACL {
	return wire.ACL{RID: a.Name, URL: aclURL(a.Name), Description: a.Description}
}

func keyDocument(k iam.Key) wire.AccountKey {
	return wire.AccountKey{ID: k.ID, PublicKey: k.PEM, By: string(k.By), At: k.At.UTC(), RetireAfter: k.RetireAfter.UTC()}
}

// actionDocuments are grants on one resource, ordered by action. entry is the URL of
// what the holder has in the ACL.
func actionDocuments(grants []iam.Grant, entry string) []wire.Action {
	slices.SortStableFunc(grants, func(a, b iam.Grant) int { return int(a.Action) - int(b.Action) })
	return each(grants, func(g iam.Grant) wire.Action {
		name := g.Action.String()
		return wire.Action{Name: name, URL: entry + "/" + name, By: string(g.By), At: g.At.UTC(), Until: g.Until.UTC()}
	})
}

// byResource groups grants by their ACL, ordered by its rid.
func byResource(d *iam.Directory, grants []iam.Grant) (roots []*iam.ACL, of map[iam.RID][]iam.Grant) {
	of = make(map[iam.RID][]iam.Grant)
	for _, g := range grants {
		root, err := d.ACL(g.RID)
		if err != nil {
			continue // grants in force have one
		}
		if of[g.RID] == nil {
			roots = append(roots, root)
		}
		of[g.RID] = append(of[g.RID], g)
	}
	slices.SortFunc(roots, func(a, b *iam.ACL) int { return strings.Compare(a.RID.String(), b.RID.String()) })
	return roots, of
}

// permissionDocuments are the grants of one user or group. holder is the end of the
// URL of its entries: users/alice.
func permissionDocuments(d *iam.Directory, grants []iam.Grant, holder string) []wire.Permission {
	roots, of := byResource(d, grants)
	return each(roots, func(root *iam.ACL) wire.Permission {
		url := aclURL(root.Name)
		return wire.Permission{RID: root.Name, Description: root.Description, ACLURL: url, Actions: actionDocuments(of[root.RID], url+"/"+holder)}
	})
}
