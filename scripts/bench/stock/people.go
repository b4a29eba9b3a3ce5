package stock

import (
	"fmt"

	"secretstore/acl"
	"secretstore/iam"
)

// The people of People.
const (
	Users  = 10_000
	Groups = 1000
	// GrantsOfUser and GrantsOfGroup make 100,000 grants.
	GrantsOfUser, GrantsOfGroup = 5, 50
	// GroupsOfUser is how many groups each user is in.
	GroupsOfUser = 10
	// Teams is how many folders the groups, and the users, have grants below.
	Teams = 200
)

// UID returns the uid of a user.
func UID(n int) iam.UID { return iam.UID(fmt.Sprintf("user%d", n)) }

// People returns 10,000 users, who are in ten groups each, 1,000 groups, and 100,000
// grants on secrets, half of them with a wildcard. Each account has the hash.
func People(hash string) []iam.Entry {
	generation := iam.Generation{1}
	var acls, others []iam.Entry
	made := make(map[iam.RID]bool)
	grants := func(team string, n int) (out []iam.Grant) {
		for i := range n {
			end := ""
			if i%2 == 1 {
				end = "/*"
			}
			rid, err := iam.ParseRID(fmt.Sprintf("dcos:secrets:default:/%s/app%d%s", team, i, end))
			if err != nil {
				panic(err) // unreachable
			}
			if !made[rid] {
				made[rid] = true
				acls = append(acls, &iam.ACL{RID: rid, Name: rid.String(), Generation: generation})
			}
			out = append(out, iam.Grant{RID: rid, ACL: generation, Action: acl.Read})
		}
		return out
	}
	for i := range Groups {
		others = append(others, &iam.Group{GID: iam.GID(fmt.Sprintf("group%d", i)), Provider: iam.Internal, Generation: generation,
			Grants: grants(fmt.Sprintf("team%d", i%Teams), GrantsOfGroup)})
	}
	for i := range Users {
		u := &iam.User{UID: UID(i), Provider: iam.Provider{Type: iam.Internal}, Hash: hash, Generation: generation,
			Grants: grants(fmt.Sprintf("home%d", i%Teams), GrantsOfUser)}
		for g := range GroupsOfUser {
			u.Groups = append(u.Groups, iam.Membership{GID: iam.GID(fmt.Sprintf("group%d", (i+g)%Groups)), Group: generation})
		}
		others = append(others, u)
	}
	return append(acls, others...)
}
