package deliver

import (
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sinceBoot returns the id of this boot and the time since it, which cannot be set and
// includes the time that the machine sleeps.
func sinceBoot() (string, time.Duration, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", 0, err
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return "", 0, err
	}
	return strings.TrimSpace(string(id)), time.Duration(now.Nano()), nil
}
