// Package version tells which version of the program this is.
package version

import (
	"runtime"
	"runtime/debug"
)

// stamp is the version that the build gives, with
//
//	go build -ldflags "-X secretstore/cmd/secretstore/internal/version.stamp=v1.2.3"
//
// "make build" does so. Without it, Go's own record of the build is used.
var stamp string

// Info describes the program.
type Info struct {
	Version string `json:"version"` // "devel" if unknown
	Commit  string `json:"commit"`  // "unknown" if the source was in no repository
	Go      string `json:"go"`
}

// Get returns what is known about the program.
func Get() Info {
	info := Info{Version: "devel", Commit: "unknown", Go: runtime.Version()}
	if build, ok := debug.ReadBuildInfo(); ok {
		if v := build.Main.Version; v != "" && v != "(devel)" {
			info.Version = v
		}
		for _, s := range build.Settings {
			switch {
			case s.Key == "vcs.revision":
				info.Commit = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				info.Commit += " with changes"
			}
		}
	}
	if stamp != "" {
		info.Version = stamp
	}
	return info
}
