package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"secretstore/store"
)

// announceTests run with a backend that is a store.Announcer.
var announceTests = []test{
	{"the last content of each server is announced", announcedContent},
	{"announcements are not records", func(e *env) {
		content, _ := e.announce(e.ctx, announcerID(1))
		content <- []byte("one")
		e.announced("1=one")
		e.lists("")
	}},
	{"the content of an announcement is bounded", func(e *env) {
		content, _ := e.announce(e.ctx, announcerID(1))
		content <- []byte(strings.Repeat("x", store.MaxAnnouncement+1))
		e.announced("1=")
		content <- []byte("one")
		e.announced("1=one")
	}},
	{"an id is 32 lower-case hex digits", func(e *env) {
		for _, id := range []string{"", "../x", announcerID(1)[1:], announcerID(1) + "0", strings.Repeat("A", 32)} {
			if err := e.b.(store.Announcer).Announce(e.ctx, id, nil); err == nil {
				e.Errorf("announced as %q", id)
			}
		}
	}},
}

func announcedContent(e *env) {
	e.announced("")
	one, _ := e.announce(e.ctx, announcerID(1))
	two, _ := e.announce(e.ctx, announcerID(2))
	two <- []byte("two")
	e.announced("2=two")
	one <- []byte("one")
	e.announced("1=one 2=two")
	one <- []byte("again")
	e.announced("1=again 2=two")
}

// announcerID returns the id of server n.
func announcerID(n int) string { return fmt.Sprintf("%032x", n) }

// announce announces a server until ctx or the test ends.
func (e *env) announce(ctx context.Context, id string) (content chan<- []byte, ended <-chan error) {
	ctx, cancel := context.WithCancel(ctx)
	in, out := make(chan []byte), make(chan error, 1)
	e.Cleanup(func() { cancel(); <-out })
	go func() {
		defer close(out)
		out <- e.b.(store.Announcer).Announce(ctx, id, in)
	}()
	return in, out
}

// announced waits until exactly these are announced, in the form "ID=DATA" with
// the last digit of the id.
func (e *env) announced(want string) {
	e.Helper()
	e.eventually("announced: "+want, func() bool {
		all, err := e.b.(store.Announcer).Announcements(e.ctx)
		if err != nil || !slices.IsSortedFunc(all, func(a, b store.Announcement) int { return strings.Compare(a.ID, b.ID) }) {
			e.Fatalf("%v, %v", all, err)
		}
		var parts []string
		for _, a := range all {
			parts = append(parts, a.ID[len(a.ID)-1:]+"="+string(a.Data))
		}
		return strings.Join(parts, " ") == want
	})
}
