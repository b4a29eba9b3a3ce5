package api_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"secretstore/api/client"
	"secretstore/api/wire"
	"secretstore/store"
)

// junkFolder is a record that is a folder by its name, and does not open.
const junkFolder = "stores/default/secrets/91/91" + "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a"

// TestADamagedRecordIsShownToThoseWhoCanRepairIt: users learn that lists are
// incomplete; which record it is, and why, only superusers do.
func TestADamagedRecordIsShownToThoseWhoCanRepairIt(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	e.put("group/a", "v")
	_, err := e.backend.Apply(t.Context(), store.Create(junkFolder, []byte("junk")), store.Create("stores/default/secrets/junk", []byte("junk")))
	must(t, err)

	e.want(req{method: "GET", path: base + "/group?list=true", uid: "alice"}, 200, `{"array":["a"],"incomplete":true}`)
	e.want(req{method: "GET", path: base + "/group?list=true&limit=1", uid: "alice"}, 200, `"incomplete":true`)
	e.want(req{method: "GET", path: base + "/group/a", uid: "alice"}, 200)
	e.want(req{method: "GET", path: base + "/group?list=true", uid: "alice", header: http.Header{"Cache-Control": {"no-cache"}}}, 500, junkFolder)
	names, err := e.api("alice").List(t.Context(), "group")
	if !errors.Is(err, client.ErrIncomplete) || !slices.Equal(names, []string{"a"}) {
		t.Errorf("%q, %v", names, err)
	}

	const warning = "1 damaged record(s) are skipped"
	if st, err := e.api("root").SealStatus(t.Context()); err != nil || len(st.Warnings) != 1 ||
		!strings.Contains(st.Warnings[0], warning) || !strings.Contains(st.Warnings[0], junkFolder) {
		t.Errorf("%+v, %v", st, err)
	}
	if st, err := e.api("alice").SealStatus(t.Context()); err != nil || len(st.Warnings) > 0 {
		t.Errorf("for others: %+v, %v", st, err)
	}
	keys, err := e.api("root").Keys(t.Context())
	must(t, err)
	if keys.Damaged != 1 || keys.DamagedRecord != junkFolder || keys.Foreign != 1 || keys.RotationState != "idle" ||
		!slices.Equal(keys.DamagedRecords, []wire.DamagedRecord{{Record: junkFolder, Reason: "its name does not authenticate"}}) {
		t.Errorf("%+v", keys)
	}
	got := e.want(req{method: "GET", path: "/metrics"}, 200, "secretstore_damaged_records 1\n", "secretstore_foreign_names 1\n", "secretstore_rotation_stuck 0\n")
	if strings.Contains(got.body, junkFolder) {
		t.Error("the metrics name the record")
	}
	if n := strings.Count(e.log.String(), "a damaged record is skipped"); n != 1 || !strings.Contains(e.log.String(), junkFolder) {
		t.Errorf("%d lines in the log", n)
	}

	_, err = e.api("root").Rotate(t.Context())
	must(t, err)
	eventually(t, func() bool {
		r, err := e.api("root").RotationStatus(t.Context())
		return err == nil && r.State == "stuck" && strings.Contains(r.Reason, junkFolder)
	})
	keys, err = e.api("root").Keys(t.Context())
	if err != nil || keys.RotationState != "stuck" || !strings.Contains(keys.RotationReason, junkFolder) || keys.Damaged != 1 {
		t.Errorf("%+v, %v", keys, err)
	}
	if st, err := e.api("root").SealStatus(t.Context()); err != nil || len(st.Warnings) != 2 || !strings.Contains(st.Warnings[1], "stuck") {
		t.Errorf("%+v, %v", st, err)
	}
	eventually(t, func() bool {
		return strings.Contains(e.want(req{method: "GET", path: "/metrics"}, 200).body, "secretstore_rotation_stuck 1\n")
	})
}

// TestAStreamOfAnIncompleteFolderSaysSo on the wire and in the client.
func TestAStreamOfAnIncompleteFolderSaysSo(t *testing.T) {
	e := newEdge(t, edgeOptions{})
	_, err := e.backend.Apply(t.Context(), store.Create(junkFolder, []byte("junk")))
	must(t, err)
	events := e.listen("?prefix=/group/", e.as("lister"))
	if got := e.heard(events, wire.EventIncomplete, ""); got.Version != 0 || got.ETag != "" {
		t.Errorf("%+v", got)
	}
	e.put("group/a", "v")
	e.heard(events, wire.EventChanged, "group/a")
	for change, err := range e.api("lister").Changes(t.Context(), "group", client.ChangesOptions{}) {
		if err != nil || change != (client.Change{Incomplete: true}) {
			t.Errorf("%+v, %v", change, err)
		}
		break
	}
}
