package slack

import "syscall"

// An import of more, of package time for example, would put init behind those of all
// that the program is made of, and have them run twice: packages are initialized in the
// order of their paths, each once what it imports is ("Package initialization" in the
// specification of Go).
func init() {
	if args := arguments(); len(args) > 1 && args[1] == "server" && get() == OfKernel && set(OfServer) && get() == OfServer {
		// Without the last look a kernel that does nothing would have it start for ever.
		if program := executable(); program != "" {
			_ = syscall.Exec(program, args, syscall.Environ()) // if it returns, this one goes on
		}
	}
}

// Of <linux/prctl.h>.
const (
	prSetTimerSlack = 29
	prGetTimerSlack = 30
)

// get returns the slack of this thread, the main one during initialization; 0 if it
// cannot be known.
func get() int {
	ns, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prGetTimerSlack, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(ns)
}

func set(ns int) bool {
	_, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetTimerSlack, uintptr(ns), 0)
	return errno == 0
}

// arguments returns those of the program, the first of which is its name.
func arguments() []string {
	var all []string
	var last []byte
	fd, err := syscall.Open("/proc/self/cmdline", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer syscall.Close(fd)
	for buf := make([]byte, 4096); ; {
		n, err := syscall.Read(fd, buf)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return nil
		}
		if n == 0 {
			return all
		}
		for _, c := range buf[:n] {
			if c == 0 {
				all, last = append(all, string(last)), last[:0]
			} else {
				last = append(last, c)
			}
		}
	}
}

// executable returns the path of the program; "" if it cannot be known.
func executable() string {
	buf := make([]byte, 4096)
	n, err := syscall.Readlink("/proc/self/exe", buf)
	if err != nil || n == len(buf) {
		return ""
	}
	return string(buf[:n])
}
