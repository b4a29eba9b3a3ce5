package tasks

import (
	"errors"
	"strings"
	"testing"

	"secretstore/api/client"
)

func TestDenialNamesTheMissingGrantOnce(t *testing.T) {
	denied := &client.Error{Status: 403, Description: "permission denied"}
	named := &client.Error{Status: 403, Description: "permission denied: ask an administrator for read on x"}
	many := strings.Fields("/g /f /e /d /c /b /a /a")
	for _, tt := range []struct {
		err      error
		services []string
		want     string // after the error
	}{
		{denied, []string{"/team/app"}, ": ask an administrator for read on dcos:secrets:resolve:default:/team/app"},
		{denied, many, ": ask an administrator for read on dcos:secrets:resolve:default:/a, dcos:secrets:resolve:default:/b, " +
			"dcos:secrets:resolve:default:/c, dcos:secrets:resolve:default:/d, dcos:secrets:resolve:default:/e, and on 2 more"},
		{denied, []string{"no service"}, ""},
		{denied, nil, ""},
		{named, many, ""},
		{&client.Error{Status: 401, Description: "permission denied"}, many, ""},
		{errors.New("permission denied"), many, ""},
	} {
		got := naming(tt.err, tt.services...)
		if !errors.Is(got, tt.err) || got.Error() != tt.err.Error()+tt.want {
			t.Errorf("%v: %v", tt.services, got)
		}
	}
}
