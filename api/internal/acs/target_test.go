package acs

import (
	"net/url"
	"strings"
	"testing"

	"secretstore/iam"
)

func TestPathsAreReadAsTheyWereSent(t *testing.T) {
	known := func(rid string) bool { return rid == "a/users/b" || rid == "a/permissions" }
	for path, want := range map[string]Target{
		"/users":                         {Template: Users},
		"/users/":                        {Template: Users},
		"/users/x":                       {Template: User, UID: "x"},
		"/users/x/":                      {Template: User, UID: "x"},
		"/users/x%2Fy":                   {Template: User, UID: "x/y"},
		"/users/x%252Fy":                 {Template: User, UID: "x%2Fy"},
		"/users//x":                      {},
		"/users/x/nothing":               {UID: "x"},
		"/users/x/groups":                {Template: UserGroups, UID: "x"},
		"/users/x/keys/k":                {Template: UserKey, UID: "x", Key: "k"},
		"/groups/g/users/x":              {Template: Member, GID: "g", UID: "x"},
		"/groups/g/users/x/y":            {GID: "g"},
		"/acls/":                         {Template: ACLs},
		"/acls/r":                        {Template: ACL, RID: "r"},
		"/acls/r/":                       {Template: ACL, RID: "r/"},
		"/acls/r//s":                     {Template: ACL, RID: "r//s"},
		"/acls/r%2Fs%252Ft":              {Template: ACL, RID: "r/s%2Ft"},
		"/acls/r/users":                  {Template: ACL, RID: "r/users"},
		"/acls/r/permissions":            {Template: ACLPermissions, RID: "r"},
		"/acls/a/permissions":            {Template: ACL, RID: "a/permissions"},
		"/acls/r/users/x":                {Template: UserEntry, RID: "r", UID: "x"},
		"/acls/a/users/b":                {Template: ACL, RID: "a/users/b"},
		"/acls/a%2Fusers/b":              {Template: ACL, RID: "a/users/b"},
		"/acls/a/users/b/read":           {Template: UserPermission, RID: "a", UID: "b", Action: "read"},
		"/acls/r/s/groups/g":             {Template: GroupEntry, RID: "r/s", GID: "g"},
		"/acls/r/s/groups/g/read":        {Template: GroupPermission, RID: "r/s", GID: "g", Action: "read"},
		"/acls/r/users/u/groups/g/x":     {Template: GroupPermission, RID: "r/users/u", GID: "g", Action: "x"},
		"/acls/list:default://users/x/y": {Template: UserPermission, RID: "list:default:/", UID: "x", Action: "y"},
		"/acls/r/users/users/x/read":     {Template: UserPermission, RID: "r/users", UID: "x", Action: "read"},
		"/auth/login":                    {Template: Login},
		"/auth/login/x":                  {},
		"":                               {},
		"/":                              {},
	} {
		got := Find("/acs/api/v1"+path, known)
		if want.Template == "" {
			want, got = Target{}, Target{Template: got.Template}
		}
		if got != want {
			t.Errorf("%s: %+v, want %+v", path, got, want)
		}
	}
	for path, want := range map[string]bool{"/acs/api/v1": true, "/acs/api/v1/x": true, "/acs/api/v10": false, "/acs/api/v1%2Fx": false, "//acs/api/v1/x": false} {
		if Covers(path) != want {
			t.Errorf("%s: %v", path, Covers(path))
		}
	}
}

// FuzzFind: the path that an answer names leads back to what it names.
func FuzzFind(f *testing.F) {
	for _, seed := range []string{"/acls/r/users/x/read", "/acls/r%252Fs/groups/g", "/users/%2F", "/acls/a//b/permissions", "/groups/g/users/x", "/acls/users/users/users/users"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI("/acs/api/v1" + path)
		if err != nil {
			return
		}
		got := Find(u.EscapedPath(), nil)
		if strings.Contains(got.Template, "{") && got.Name() == "" {
			t.Fatalf("%q: %+v has no name", path, got)
		}
		rid, err := iam.ParseRID(got.RID)
		if got.Template != UserPermission && got.Template != GroupPermission || err != nil {
			return
		}
		again := Find(aclURL(iam.SpellRID(got.RID))+strings.TrimPrefix(strings.NewReplacer("{uid}", url.PathEscape(got.UID), "{gid}", url.PathEscape(got.GID),
			"{action}", url.PathEscape(got.Action)).Replace(got.Template), ACL), nil)
		if back, err := iam.ParseRID(again.RID); err != nil || back != rid || again.UID != got.UID || again.GID != got.GID || again.Action != got.Action {
			t.Fatalf("%q is %+v, whose own path is %+v", path, got, again)
		}
	})
}
