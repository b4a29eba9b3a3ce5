package kv

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Names of the records of KV v2, below the prefix of its mount.
const (
	MetadataPrefix = "metadata/"
	SaltName       = "salt"
	UpgradingName  = "upgrading"
)

const (
	maxPath     = 8192 // bytes
	maxVersions = 100_000
	maxCustom   = 1024
)

// The errors of records of KV v2.
var (
	ErrMetadata = errors.New("does not describe the versions of a secret")
	ErrVersion  = errors.New("is not a version of a secret")
)

// Metadata describes a secret and its versions.
type Metadata struct {
	Path     string
	Current  uint64 // 0 if there is no version
	Custom   map[string]string
	Versions map[uint64]Version
}

// Version describes a version.
type Version struct {
	Deleted   time.Time // zero: not; a time in the future: not yet
	Destroyed bool
}

// Readable reports whether the version has a value at a time.
func (v Version) Readable(now time.Time) bool {
	return !v.Destroyed && (v.Deleted.IsZero() || v.Deleted.After(now))
}

// Readable returns the newest n readable versions, oldest first; none if the current
// one is deleted or destroyed, since then the secret has no value.
func (m Metadata) Readable(now time.Time, n int) []uint64 {
	if current, ok := m.Versions[m.Current]; !ok || !current.Readable(now) {
		return nil
	}
	var all []uint64
	for _, number := range slices.Sorted(maps.Keys(m.Versions)) {
		if number <= m.Current && m.Versions[number].Readable(now) {
			all = append(all, number)
		}
	}
	return all[max(0, len(all)-n):]
}

// ParseMetadata reads a record below metadata/: the message KeyMetadata.
func ParseMetadata(record []byte) (Metadata, error) {
	m := Metadata{Versions: map[uint64]Version{}, Custom: map[string]string{}}
	ok := fields(record, func(number protowire.Number, value field) bool {
		switch number {
		case 1:
			m.Path = string(value.bytes)
			return value.isBytes && len(m.Path) <= maxPath
		case 2:
			return value.isBytes && m.addVersion(value.bytes)
		case 3:
			m.Current = value.number
			return !value.isBytes
		case 10:
			return value.isBytes && m.addCustom(value.bytes)
		}
		return true
	})
	if !ok || m.Path == "" {
		return Metadata{}, ErrMetadata
	}
	return m, nil
}

// addVersion reads an entry of map<uint64, VersionMetadata>.
func (m *Metadata) addVersion(entry []byte) bool {
	var number uint64
	var v Version
	ok := fields(entry, func(n protowire.Number, value field) bool {
		switch n {
		case 1:
			number = value.number
			return !value.isBytes
		case 2:
			return value.isBytes && fields(value.bytes, func(n protowire.Number, value field) (ok bool) {
				switch n {
				case 2:
					v.Deleted, ok = timestamp(value.bytes)
					return ok && value.isBytes
				case 3:
					v.Destroyed = value.number != 0
					return !value.isBytes
				}
				return true
			})
		}
		return true
	})
	_, twice := m.Versions[number]
	m.Versions[number] = v
	return ok && !twice && number != 0 && len(m.Versions) <= maxVersions
}

func (m *Metadata) addCustom(entry []byte) bool {
	var pair [2]string
	ok := fields(entry, func(n protowire.Number, value field) bool {
		if n == 1 || n == 2 {
			pair[n-1] = string(value.bytes)
			return value.isBytes
		}
		return true
	})
	m.Custom[pair[0]] = pair[1]
	return ok && len(m.Custom) <= maxCustom
}

// ParseVersion reads the record of a version: the message Version. Its object is
// returned as it was written, without a copy.
func ParseVersion(record []byte) (object []byte, err error) {
	ok := fields(record, func(number protowire.Number, value field) bool {
		if number == 1 {
			object = value.bytes
			return value.isBytes
		}
		return true
	})
	if !ok || object == nil {
		return nil, ErrVersion
	}
	return object, nil
}

// Upgraded reports whether an upgrade from KV v1 is complete, from the record
// upgrading.
func Upgraded(record []byte) bool {
	done := false
	ok := fields(record, func(number protowire.Number, value field) bool {
		if number == 2 {
			done = value.number != 0
		}
		return true
	})
	return ok && done
}

// VersionName returns the name of the record of a version, below the prefix of its
// mount.
func VersionName(salt, path string, version uint64) string {
	sum := sha256.Sum256([]byte(salt + path + "|" + strconv.FormatUint(version, 10)))
	name := hex.EncodeToString(sum[:])
	return "versions/" + name[:3] + "/" + name[3:]
}

// field is the value of a field.
type field struct {
	number  uint64
	bytes   []byte
	isBytes bool
}

// fields calls visit for each field of a message, until it returns false. It returns
// whether the whole message was read.
func fields(message []byte, visit func(protowire.Number, field) bool) bool {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return false
		}
		message = message[n:]
		var value field
		switch kind {
		case protowire.VarintType:
			value.number, n = protowire.ConsumeVarint(message)
		case protowire.BytesType:
			value.bytes, n = protowire.ConsumeBytes(message)
			value.isBytes = true
		default: // no message has such a field
			n = -1
		}
		if n < 0 || !visit(number, value) {
			return false
		}
		message = message[n:]
	}
	return true
}

// timestamp reads the message Timestamp.
func timestamp(message []byte) (t time.Time, ok bool) {
	var seconds, nanos int64
	ok = fields(message, func(n protowire.Number, value field) bool {
		switch n {
		case 1:
			seconds = int64(value.number)
		case 2:
			nanos = int64(value.number)
		}
		return !value.isBytes
	})
	// As in the specification of Timestamp: the years 1 to 9999.
	ok = ok && seconds >= -62135596800 && seconds < 253402300800 && nanos >= 0 && nanos < 1e9
	return time.Unix(seconds, nanos), ok
}
