package bolt

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const procLocks = `1: POSIX  ADVISORY  WRITE 100 08:02:5678 0 EOF
2: FLOCK  ADVISORY  WRITE 200 08:02:1234 0 EOF
3: FLOCK  ADVISORY  WRITE 300 08:02:5678 0 EOF
3: -> FLOCK  ADVISORY  WRITE 400 08:02:5678 0 EOF
4: FLOCK  ADVISORY  WRITE 500 fe:100:5678 0 EOF
`

func TestLockHolderIsFoundByDeviceAndInode(t *testing.T) {
	for _, tt := range []struct {
		device, inode uint64
		pid           int
	}{
		{unix.Mkdev(0x08, 0x02), 5678, 300},
		{unix.Mkdev(0x08, 0x02), 1234, 200},
		{unix.Mkdev(0xfe, 0x100), 5678, 500},
		{unix.Mkdev(0x08, 0x03), 5678, 0},
		{unix.Mkdev(0x08, 0x02), 56, 0},
	} {
		pid, ok := lockedBy(procLocks, tt.device, tt.inode)
		if pid != tt.pid || ok != (tt.pid != 0) {
			t.Errorf("%x:%d: %d, %v, want %d", tt.device, tt.inode, pid, ok, tt.pid)
		}
	}
}

func FuzzLockedBy(f *testing.F) {
	f.Add(procLocks)
	f.Add("1: FLOCK ADVISORY WRITE -1 08:02:1 0 EOF")
	f.Fuzz(func(t *testing.T, locks string) {
		pid, ok := lockedBy(locks, unix.Mkdev(8, 2), 1)
		if ok && (pid <= 0 || !strings.Contains(locks, "08:02:1")) {
			t.Errorf("pid %d", pid)
		}
	})
}
