package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"secretstore/cmd/secretstore/internal/config"
)

// Disk is the room in a folder that the server writes to.
type Disk struct {
	Folder string
	Free   uint64 // bytes
	// Copy is the size of the largest file that the server may write again.
	Copy uint64
}

const (
	// almostFull is too little to work with: the audit log alone reserves 16 MiB.
	almostFull = 64 << 20
	// littleRoom is a day of a busy audit log.
	littleRoom = 1 << 30
)

func checkDisk(f *Facts) (all []Finding) {
	for _, d := range f.Disks {
		const fix = "make room, or move the folder to a larger disk: "
		switch {
		case d.Free < almostFull:
			all = append(all, Finding{CheckDisk, Serious, d.Folder, fmt.Sprintf("the disk is almost full: %d MiB are free. Without room for its audit log, the server answers nothing", d.Free>>20), fix + "df -h"})
		case d.Free < d.Copy+almostFull:
			all = append(all, Finding{CheckDisk, Warning, d.Folder, fmt.Sprintf("%d MiB are free, which is too little for the copy of the storage (%d MiB) with which a rotation ends", d.Free>>20, d.Copy>>20), fix + "df -h"})
		case d.Free < littleRoom:
			all = append(all, Finding{CheckDisk, Warning, d.Folder, fmt.Sprintf("%d MiB of the disk are free", d.Free>>20), fix + "df -h"})
		}
	}
	for _, fault := range f.Faults {
		all = append(all, Finding{CheckDisk, Serious, fault.Server, fault.Text, "make room on the disk that it names, or on those of ZooKeeper: df -h"})
	}
	return all
}

// GatherDisks looks for the room beside the storage and the audit log.
func GatherDisks(f *Facts) {
	look := func(path string, copied bool) {
		folder := filepath.Dir(path)
		free, err := freeBytes(folder)
		if err != nil {
			f.Gaps = append(f.Gaps, Gap{CheckDisk, folder, err.Error(), "run this as the server's user, on its machine"})
			return
		}
		d := Disk{Folder: folder, Free: free}
		if info, err := os.Stat(path); err == nil && copied {
			d.Copy = uint64(info.Size())
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.Gaps = append(f.Gaps, Gap{CheckDisk, path, err.Error(), "run this as the server's user, on its machine"})
		}
		for i, other := range f.Disks {
			if other.Folder == folder {
				f.Disks[i].Copy = max(other.Copy, d.Copy)
				return
			}
		}
		f.Disks = append(f.Disks, d)
	}
	if f.Config.Storage.Kind == config.Bolt {
		look(f.Config.Storage.Path, true)
	}
	if log := f.Config.AuditLog; log != "" && log != "-" {
		look(log, false)
	}
}
