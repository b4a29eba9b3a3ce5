package doctor

import (
	"os"
	"path/filepath"
	"testing"

	"secretstore/api/wire"
)

const swapsHead = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"

func TestWhereMemoryMayBeSwappedTo(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"nothing can be read", nil, wire.SwapUnknown},
		{"no swap", map[string]string{"proc/swaps": swapsHead}, wire.SwapNone},
		{"a partition", map[string]string{"proc/swaps": swapsHead + "/dev/sda2 partition 1 0 -2\n"}, wire.SwapPlain},
		{"a file", map[string]string{"proc/swaps": swapsHead + "/swap\\040file file 1 0 -2\n"}, wire.SwapPlain},
		{"in memory", map[string]string{"proc/swaps": swapsHead + "/dev/zram0 partition 1 0 -2\n"}, wire.SwapNone},
		{"encrypted", map[string]string{"proc/swaps": swapsHead + "/dev/dm-1 partition 1 0 -2\n", "sys/block/dm-1/dm/uuid": "CRYPT-PLAIN-swap\n"}, wire.SwapEncrypted},
		{"a volume", map[string]string{"proc/swaps": swapsHead + "/dev/dm-1 partition 1 0 -2\n", "sys/block/dm-1/dm/uuid": "LVM-abc\n"}, wire.SwapPlain},
		{"one of two encrypted", map[string]string{"proc/swaps": swapsHead + "/dev/dm-1 partition 1 0 -2\n/swapfile file 1 0 -3\n", "sys/block/dm-1/dm/uuid": "CRYPT-x"}, wire.SwapPlain},
		{"forbidden", map[string]string{"proc/swaps": swapsHead + "/swapfile file 1 0 -3\n", "proc/self/cgroup": "0::/system.slice/secretstore.service\n",
			"sys/fs/cgroup/system.slice/secretstore.service/memory.swap.max": "0\n"}, wire.SwapNone},
		{"forbidden above", map[string]string{"proc/swaps": swapsHead + "/swapfile file 1 0 -3\n", "proc/self/cgroup": "1:name=x:/y\n0::/a/b\n",
			"sys/fs/cgroup/a/b/memory.swap.max": "max\n", "sys/fs/cgroup/a/memory.swap.max": "0\n"}, wire.SwapNone},
		{"limited only", map[string]string{"proc/swaps": swapsHead + "/swapfile file 1 0 -3\n", "proc/self/cgroup": "0::/a\n",
			"sys/fs/cgroup/a/memory.swap.max": "4096\n"}, wire.SwapPlain},
	} {
		root := t.TempDir()
		for name, content := range tt.files {
			write(t, filepath.Join(root, name), content, 0o600)
		}
		if got := swapOf(root); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestSwappedMemory(t *testing.T) {
	for status, want := range map[string]int64{
		"VmRSS:\t 5 kB\nVmSwap:\t     12 kB\nThreads:\t1\n": 12 << 10, "VmSwap:\t0 kB\n": 0, "": 0, "VmSwap: junk": 0,
	} {
		if got := swapped(status); got != want {
			t.Errorf("%q: %d, want %d", status, got, want)
		}
	}
}

func TestProcessDescribesItself(t *testing.T) {
	r := Self()
	if r == nil || r.UserID != os.Geteuid() || r.Time.IsZero() || r.Swap == "" {
		t.Errorf("%+v", r)
	}
}
