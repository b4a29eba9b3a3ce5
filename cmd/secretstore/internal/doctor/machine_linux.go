package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"secretstore/api/wire"
)

// Self describes this process and its machine.
func Self() *wire.HostReport {
	r := &wire.HostReport{UserID: os.Geteuid(), Dumpable: true, CoreLimit: -1, Time: time.Now().UTC()}
	if v, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err == nil {
		r.Dumpable = v == 1 // with 2, only root could
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err == nil && limit.Cur < 1<<62 {
		r.CoreLimit = int64(limit.Cur)
	}
	r.Swap = swapOf("/")
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		r.Swapped = swapped(string(status))
	}
	return r
}

// ThisMachine describes the machine.
func ThisMachine() *Machine { return &Machine{Swap: swapOfMachine("/")} }

// swapOf returns where this process may be swapped out to; root is "/" but in tests.
func swapOf(root string) string {
	if groups, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup")); err == nil && swapForbidden(root, string(groups)) {
		return wire.SwapNone
	}
	return swapOfMachine(root)
}

// swapForbidden reports whether a control group of the process, or one above it,
// has no swap space.
func swapForbidden(root, groups string) bool {
	for line := range strings.Lines(groups) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		for at := filepath.Clean("/" + path); ; at = filepath.Dir(at) {
			limit, err := os.ReadFile(filepath.Join(root, "sys/fs/cgroup", at, "memory.swap.max"))
			if err == nil && strings.TrimSpace(string(limit)) == "0" {
				return true
			}
			if at == "/" {
				return false
			}
		}
	}
	return false
}

// swapOfMachine looks at the swap space of the machine.
func swapOfMachine(root string) string {
	text, err := os.ReadFile(filepath.Join(root, "proc/swaps"))
	if err != nil {
		return wire.SwapUnknown
	}
	swap := wire.SwapNone
	for _, device := range swapDevices(string(text)) {
		name := filepath.Base(device)
		if strings.HasPrefix(device, "/dev/zram") {
			continue // in memory
		}
		uuid, _ := os.ReadFile(filepath.Join(root, "sys/block", name, "dm/uuid"))
		if !strings.HasPrefix(device, "/dev/dm-") || !strings.HasPrefix(string(uuid), "CRYPT-") {
			return wire.SwapPlain
		}
		swap = wire.SwapEncrypted
	}
	return swap
}

// swapDevices returns the devices and files in the text of /proc/swaps.
func swapDevices(text string) (all []string) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) > 0 && strings.HasPrefix(fields[0], "/") {
			all = append(all, fields[0])
		}
	}
	return all
}

// swapped returns how many bytes are in swap space, from the text of
// /proc/self/status.
func swapped(status string) int64 {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, "VmSwap:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 48)
			return n << 10
		}
	}
	return 0
}

// freeBytes returns the room on the disk of a folder for users other than root.
func freeBytes(folder string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(folder, &s); err != nil {
		return 0, fmt.Errorf("statfs: %w", err)
	}
	return s.Bavail * uint64(s.Bsize), nil
}
