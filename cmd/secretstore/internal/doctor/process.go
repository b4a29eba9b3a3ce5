package doctor

import (
	"fmt"

	"secretstore/api/wire"
)

// Process is the process of a running server, as it describes itself.
type Process struct {
	Server string
	Here   bool // it runs on this machine
	// Self: the server examines itself.
	Self bool
	wire.HostReport
	// Offset compares its clock with that of this machine.
	Offset Offset
}

// Machine is the machine that the doctor runs on.
type Machine struct {
	Swap string // as in wire.HostReport, of a process without limits
}

const fixSwap = "sudo swapoff -a, or set MemorySwapMax=0 in the unit of the server as deploy/systemd/secretstore.service does; then restart the server"

func checkSwap(f *Facts) (all []Finding) {
	for _, p := range f.Processes {
		switch {
		case p.Swap == wire.SwapPlain && p.Swapped > 0:
			all = append(all, Finding{CheckSwap, Serious, p.Server,
				fmt.Sprintf("%d KiB of the server's memory, which holds keys, are in swap space on a disk without encryption", p.Swapped>>10), fixSwap})
		case p.Swap == wire.SwapPlain:
			all = append(all, Finding{CheckSwap, Warning, p.Server,
				"the server's memory, which holds keys, may be swapped out to a disk without encryption", fixSwap})
		case p.Swap != wire.SwapNone && p.Swap != wire.SwapEncrypted:
			all = append(all, Finding{CheckSwap, Unknown, p.Server, "could not be checked: the server cannot see the swap space of its machine",
				"look at it on that machine: swapon --show"})
		}
	}
	if f.Machine != nil && f.Machine.Swap == wire.SwapPlain {
		all = append(all, Finding{CheckSwap, Warning, "this machine",
			"there is swap space on a disk without encryption, and no running server says that it does not use it", fixSwap})
	}
	return all
}

func checkCore(f *Facts) (all []Finding) {
	for _, p := range f.Processes {
		if p.CoreLimit != 0 {
			all = append(all, Finding{CheckCore, Warning, p.Server, "the kernel may write a core file of the server, with the keys in it",
				"set LimitCORE=0 in the unit of the server (ulimit -c 0 in a shell), then restart the server"})
		}
	}
	return all
}

func checkDumpable(f *Facts) (all []Finding) {
	for _, p := range f.Processes {
		if p.Dumpable {
			all = append(all, Finding{CheckDumpable, Serious, p.Server, "other processes of the server's user can read the keys in its memory",
				"let the server call prctl: its log says why it could not (\"other processes of this user may read the memory\"), usually a seccomp filter such as SystemCallFilter= in its unit; then restart it"})
		}
	}
	return all
}
