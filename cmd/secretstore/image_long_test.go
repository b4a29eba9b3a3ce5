//go:build long && zookeeper && gpg && linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"secretstore/internal/zktest"
)

// TestImageRunsAServer builds the image of deploy/container, and runs the server
// in it with nothing else, as its user, on a real ZooKeeper.
func TestImageRunsAServer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root, to enter the root folder of the image")
	}
	zookeeper := zktest.Start(t)
	context, store := t.TempDir(), t.TempDir()
	run := func(name string, args ...string) string {
		t.Helper()
		out, err := exec.Command(name, args...).Output()
		if err != nil {
			text := ""
			if exit, ok := err.(*exec.ExitError); ok {
				text = string(exit.Stderr)
			}
			t.Fatalf("%s %q: %v %s", name, args, err, text)
		}
		return strings.TrimSpace(string(out))
	}
	buildah := func(args ...string) string {
		t.Helper()
		return run("buildah", append([]string{"--storage-driver", "vfs", "--root", filepath.Join(store, "root"), "--runroot", filepath.Join(store, "run")}, args...)...)
	}
	run("make", "--no-print-directory", "-C", "../..", "build", "OUT="+filepath.Join(context, "secretstore"))
	run("cp", "../../deploy/container/Containerfile", context)
	buildah("bud", "--isolation", "chroot", "-t", "secretstore", context)
	image := buildah("from", "secretstore")
	root := buildah("mount", image)
	t.Cleanup(func() { buildah("umount", image) })
	if files, err := os.ReadDir(root); err != nil || len(files) != 1 || files[0].Name() != "secretstore" {
		t.Errorf("the image holds %v, %v", files, err)
	}
	if entry := buildah("inspect", "--type", "image", "--format", "{{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.User}} {{.OCIv1.Config.StopSignal}}", "secretstore"); entry != "[/secretstore] 65532:65532 SIGTERM" {
		t.Errorf("the image runs %s", entry)
	}

	const user = 65532
	mounted := filepath.Join(root, "etc/secretstore")
	if err := os.MkdirAll(mounted, 0o755); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	etc(t, mounted, "/etc/secretstore", address, zookeeper.Addr())
	run("chown", "-R", "65532:65532", mounted)
	server := exec.Command("/secretstore", imageCommand(t)...)
	server.Dir, server.Env = "/", []string{}
	server.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: user, Gid: user}, Pdeathsig: syscall.SIGKILL}
	log, err := server.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer server.Process.Kill()
	url, text := untilListening(log)
	if url != "https://"+address {
		t.Fatalf("it listens at %q\n%s", url, text)
	}
	alive(t, address)
	if strings.Contains(text, `"level":"error"`) || strings.Contains(text, "readable by") {
		t.Errorf("%s", text)
	}
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for ; url != ""; url, _ = untilListening(log) { // reads the rest of the log
	}
	if err := server.Wait(); err != nil {
		t.Errorf("the server, asked to end: %v", err)
	}
}
