package varlinkapi

import (
	"encoding/hex"
	"math"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machine1"
)

// The types of io.systemd.Machine.
//
// Reference: varlink-io.systemd.Machine.c, varlink-idl-common.c.
var (
	machineClass = varlink.Enum("MachineClass",
		string(machine1.ClassContainer), string(machine1.ClassVM), string(machine1.ClassHost))

	killWhom = varlink.Enum("KillWhom", "leader", "supervisor", "all")

	acquireMetadata = varlink.Enum("AcquireMetadata", metadataNo, metadataYes, metadataGraceful)

	processID = varlink.Struct("ProcessId",
		varlink.Field{Name: "pid", Type: varlink.Int, Valid: between(0, math.MaxInt32)},
		varlink.Field{Name: "pidfdId", Type: varlink.Int, Nullable: true, NullIsAbsent: true, Valid: between(0, math.MaxInt64)},
		varlink.Field{Name: "bootId", Type: varlink.String, Nullable: true, Valid: isID})

	timestamp = varlink.Struct("Timestamp",
		varlink.Field{Name: "realtime", Type: varlink.Int, Nullable: true},
		varlink.Field{Name: "monotonic", Type: varlink.Int, Nullable: true})

	address = varlink.Struct("Address",
		varlink.Field{Name: "ifindex", Type: varlink.Int, Nullable: true},
		varlink.Field{Name: "family", Type: varlink.Int},
		varlink.Field{Name: "address", Type: varlink.Array(varlink.Int)})
)

// How much a caller of List wants to know.
const (
	metadataNo       = "no"
	metadataYes      = "yes"
	metadataGraceful = "graceful" // what cannot be found out is left out
)

const interactiveField = "allowInteractiveAuthentication"

// interactive is in the input of every method that may ask polkit.
var interactive = varlink.Field{Name: interactiveField, Type: varlink.Bool, Nullable: true}

// onMachine is the input of a method that works on one machine: what names
// the machine, and then the rest.
func onMachine(rest ...varlink.Field) varlink.Fields {
	return append(varlink.Fields{
		{Name: "name", Type: varlink.String, Nullable: true, Valid: isLookupName},
		{Name: "pid", Type: processID, Nullable: true, NullIsAbsent: true, Valid: isLookupProcess},
		interactive,
	}, rest...)
}

func isLookupName(v any) bool  { return machine1.ValidLookupName(v.(string)) }
func isMachineName(v any) bool { return machine1.ValidMachineName(v.(string)) }
func isRegistrable(v any) bool { return machine1.Class(v.(string)).Registrable() }

// isLookupProcess accepts PID 0, the caller, if nothing else is said of it.
func isLookupProcess(v any) bool {
	p := v.(varlink.Object)
	return p.Int("pid") != 0 || !p.Has("pidfdId") && !p.Has("bootId")
}

func isLeaderProcess(v any) bool { return isLeaderPID(v.(varlink.Object).Int("pid")) }

// isLeaderPID refuses PID 1, which leads nothing but the host.
func isLeaderPID(v any) bool { return between(2, math.MaxInt32)(v) }

func between(low, high int64) func(any) bool {
	return func(v any) bool { n := v.(int64); return low <= n && n <= high }
}

func areInterfaces(v any) bool {
	return !slices.ContainsFunc(v.([]any), func(index any) bool { return !between(1, math.MaxInt32)(index) })
}

func isID(v any) bool { _, ok := parseID(v.(string)); return ok }

// parseID reads 32 hexadecimal digits, or a UUID.
//
// Reference: sd-id128.c, sd_id128_from_string.
func parseID(s string) (id [16]byte, ok bool) {
	if len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' {
		s = strings.ReplaceAll(s, "-", "")
	}
	if len(s) != 2*len(id) {
		return id, false
	}
	_, err := hex.Decode(id[:], []byte(s))
	return id, err == nil
}

// isPath accepts an absolute path.
//
// Reference: path-util.c, path_is_valid_full.
func isPath(v any) bool {
	path := v.(string)
	if !strings.HasPrefix(path, "/") || len(path) >= unix.PathMax {
		return false
	}
	for element := range strings.SplitSeq(path, "/") {
		if len(element) > unix.NAME_MAX {
			return false
		}
	}
	return true
}

// isNormalPath accepts an absolute path without ".", ".." and "//".
//
// Reference: path-util.c, path_is_normalized.
func isNormalPath(v any) bool {
	if !isPath(v) {
		return false
	}
	path := v.(string)
	if path == "/" {
		return true
	}
	for element := range strings.SplitSeq(strings.TrimSuffix(path[1:], "/"), "/") {
		if element == "" || element == "." || element == ".." {
			return false
		}
	}
	return true
}

// isSafeText refuses what could end or escape a string in a configuration file.
//
// Reference: string-util.c, string_is_safe.
func isSafeText(v any) bool {
	return !strings.ContainsFunc(v.(string), func(r rune) bool {
		return r < ' ' || r == 0x7f || strings.ContainsRune(`"\'`, r)
	})
}
