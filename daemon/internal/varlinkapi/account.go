package varlinkapi

import (
	"strconv"
	"strings"

	"github.com/machd/machd/pkg/machine1"
)

// accountName is what the host calls a user or group of a machine.
func accountName(prefix, machine string, inner uint32) string {
	return prefix + machine + "-" + strconv.FormatUint(uint64(inner), 10)
}

// splitAccount undoes accountName. A machine's name may have dashes itself, so
// the last one counts. What accountName would not make is no account.
//
// Reference: machined-varlink.c, user_lookup_name.
func splitAccount(name, prefix string) (machine string, inner uint32, ok bool) {
	rest, ok := strings.CutPrefix(name, prefix)
	dash := strings.LastIndexByte(rest, '-')
	if !ok || dash < 0 || !isStrictName(name) {
		return "", 0, false
	}
	machine = rest[:dash]
	id, err := strconv.ParseUint(rest[dash+1:], 10, 32)
	ok = err == nil && isUserID(int64(id)) && machine1.ValidMachineName(machine) &&
		accountName(prefix, machine, uint32(id)) == name
	return machine, uint32(id), ok
}

// maxAccountName is what utmp has room for, bytes.
const maxAccountName = 31

// isStrictName accepts the names that every program takes for a user's. Those
// of machines with long names, or with dots, are none.
//
// Reference: user-util.c, valid_user_group_name, strict.
func isStrictName(name string) bool {
	if name == "" || len(name) > maxAccountName {
		return false
	}
	for i := range len(name) {
		c := name[i]
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	return true
}
