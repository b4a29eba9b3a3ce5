package deliver

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func cacheIn(t *testing.T) (Cache, string) {
	t.Helper()
	c := Cache{Dir: filepath.Join(memory(t), "copies"), Question: []byte("what?"), MaxAge: time.Hour}
	return c, c.file().Dest
}

func TestCopyIsReturnedForTheSameQuestionOnly(t *testing.T) {
	c, path := cacheIn(t)
	if _, _, err := c.Load(); !errors.Is(err, ErrNoCache) {
		t.Errorf("without a copy: %v", err)
	}
	if err := c.Store([]byte("answer"), 0); err != nil {
		t.Fatal(err)
	}
	got, age, err := c.Load()
	if err != nil || string(got) != "answer" || age < 0 || age > time.Minute {
		t.Errorf("%q, %v, %v", got, age, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	other := c
	other.Question = []byte("something else")
	if _, _, err := other.Load(); !errors.Is(err, ErrNoCache) {
		t.Errorf("for another question: %v", err)
	}
	// Somebody moved it to where the other question looks.
	if err := os.Rename(path, other.file().Dest); err != nil {
		t.Fatal(err)
	}
	if _, _, err := other.Load(); !errors.Is(err, ErrNoCache) {
		t.Errorf("moved: %v", err)
	}
}

// TestInvalidCopyIsNotUsed changes one thing at a time about a good copy.
func TestInvalidCopyIsNotUsed(t *testing.T) {
	rewrite := func(change func(*cached)) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var doc cached
			if err := json.Unmarshal(data, &doc); err != nil {
				t.Fatal(err)
			}
			change(&doc)
			if data, err = json.Marshal(doc); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	check := func(t *testing.T, err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, change := range map[string]func(t *testing.T, path string){
		"too old":          rewrite(func(d *cached) { d.Written -= 61 * time.Minute }),
		"from the future":  rewrite(func(d *cached) { d.Written += time.Minute }),
		"before the boot":  rewrite(func(d *cached) { d.Boot = "00000000-0000-0000-0000-000000000000" }),
		"no JSON":          func(t *testing.T, path string) { check(t, os.WriteFile(path, []byte("{"), 0o600)) },
		"readable for all": func(t *testing.T, path string) { check(t, os.Chmod(path, 0o644)) },
		"a second name":    func(t *testing.T, path string) { check(t, os.Link(path, path+"2")) },
		"open folder":      func(t *testing.T, path string) { check(t, os.Chmod(filepath.Dir(path), 0o755)) },
		"a link": func(t *testing.T, path string) {
			check(t, os.Rename(path, path+"2"))
			check(t, os.Symlink(path+"2", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, path := cacheIn(t)
			check(t, c.Store([]byte("answer"), 0))
			rewrite(func(*cached) {})(t, path)
			if _, _, err := c.Load(); err != nil {
				t.Fatalf("unchanged: %v", err)
			}
			change(t, path)
			if got, _, err := c.Load(); !errors.Is(err, ErrNoCache) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestCopyIsNotPutIntoAFolderOfOthers(t *testing.T) {
	c, _ := cacheIn(t)
	if err := os.Mkdir(c.Dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(c.Dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := c.Store([]byte("answer"), 0); err == nil || names(t, c.Dir) != "" {
		t.Errorf("%v; there is %s", err, names(t, c.Dir))
	}
}

func TestRemovedCopyIsGone(t *testing.T) {
	c, _ := cacheIn(t)
	if err := c.Store([]byte("answer"), 0); err != nil {
		t.Fatal(err)
	}
	c.Remove()
	if got := names(t, c.Dir); got != "" {
		t.Errorf("there is %s", got)
	}
	c.Remove() // of nothing
}
