//go:build zookeeper

package zk_test

import (
	"errors"
	"testing"
	"time"

	zkc "github.com/go-zookeeper/zk"

	"secretstore/internal/zktest"
	"secretstore/store"
	"secretstore/store/zk"
)

func TestReaderReadsWhatOthersWrote(t *testing.T) {
	t.Parallel()
	server := zktest.Shared(t)
	conn, _, err := zkc.Connect([]string{server}, 30*time.Second, zkc.WithLogInfo(false))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	root := "/reader"
	create := func(path, data string, acl []zkc.ACL) {
		t.Helper()
		if _, err := conn.Create(path, []byte(data), 0, acl); err != nil {
			t.Fatal(err)
		}
	}
	create(root, "", zkc.WorldACL(zkc.PermAll))
	create(root+"/é", "", zkc.WorldACL(zkc.PermAll))
	create(root+"/_a b", "1", zkc.DigestACL(zkc.PermAll, "user", "password"))
	r, err := zk.NewReader(zk.Config{Servers: []string{server}, Root: root, User: "user", Password: "password"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	f, err := r.Folder(t.Context(), root)
	if err != nil || len(f.Children) != 2 || f.HasData {
		t.Errorf("%+v, %v", f, err)
	}
	if f, err := r.Folder(t.Context(), root+"/_a b"); err != nil || !f.HasData || len(f.Children) != 0 {
		t.Errorf("%+v, %v", f, err)
	}
	if data, err := r.Read(t.Context(), root+"/_a b"); err != nil || string(data) != "1" {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := r.Read(t.Context(), root+"/nosuch"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v", err)
	}
	stranger, err := zk.NewReader(zk.Config{Servers: []string{server}, Root: root})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if data, err := stranger.Read(t.Context(), root+"/_a b"); !errors.Is(err, zk.ErrDenied) || data != nil {
		t.Errorf("%q, %v", data, err)
	}
}

func TestReaderFindsAServerAgainAndGivesUp(t *testing.T) {
	t.Parallel()
	s := zktest.Start(t)
	r, err := zk.NewReader(zk.Config{Servers: []string{"127.0.0.1:1", s.Addr()}, Root: "/x"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Folder(t.Context(), "/"); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	s.Restart()
	eventually(t, "read after a restart", func() bool { _, err := r.Folder(t.Context(), "/"); return err == nil })
	s.Stop()
	if _, err := r.Folder(t.Context(), "/"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("without a server: %v", err)
	}
}
