package people

import (
	"testing"
	"time"

	"secretstore/api/wire"
)

func TestAccountsAreStaleSinceTheirLastUseOrTheirMaking(t *testing.T) {
	since := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	before, earlier, after := since.Add(-time.Hour), since.Add(-2*time.Hour), since.Add(time.Hour)
	old := unusedSince([]wire.User{
		{UID: "used", Created: earlier, LastUse: after},
		{UID: "unused", Created: earlier, LastUse: before},
		{UID: "new", Created: after},
		{UID: "never", Created: earlier},
		{UID: "of the file"}, // nothing is known
	}, since)
	var uids []string
	for _, u := range old {
		uids = append(uids, u.UID)
	}
	if len(uids) != 3 || uids[0] != "of the file" || uids[1] != "never" || uids[2] != "unused" {
		t.Errorf("%q", uids)
	}
}
