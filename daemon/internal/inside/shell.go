package inside

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/machd/machd/pkg/machine1"
)

// A Shell is what to run on a new terminal of a machine.
type Shell struct {
	User        string   // name or number, looked up inside
	Path        string   // absolute, inside
	Args        []string // with the zeroth
	Environment []string // NAME=value
}

const (
	defaultUser  = "root"
	defaultShell = "/bin/sh"

	// maxEnvironment is the number of assignments a caller may send.
	maxEnvironment = 16384
	// maxEnvironmentName is what still fits into an argument list, bytes.
	maxEnvironmentName = 1<<17 - 2
)

// loginShell finds the shell of the user $1 inside the machine, where the
// user is known. It must contain neither "${" nor "$$": the service manager
// replaces both.
const loginShell = `shell=$(getent passwd "$1" 2>/dev/null | cut -d: -f7)
[ -x "$shell" ] || shell=` + defaultShell + `
exec "$shell" -l`

// Normalize checks s and fills in what is left out: the user is root, the
// program the user's login shell, the arguments the program alone. Without a
// path the arguments are ignored. Its own result it returns unchanged.
//
// Reference: machine-dbus.c, bus_machine_method_open_shell.
func (s Shell) Normalize() (Shell, error) {
	if s.User == "" {
		s.User = defaultUser
	}
	if !validUser(s.User) {
		return Shell{}, machine1.Errorf(machine1.ErrInvalidArgs, "Invalid user name '%s'", s.User)
	}
	switch {
	case s.Path == "":
		s.Path = defaultShell
		s.Args = []string{"sh", "-c", loginShell, "sh", s.User}
	case !strings.HasPrefix(s.Path, "/"):
		return Shell{}, machine1.Errorf(machine1.ErrInvalidArgs, "Specified path '%s' is not absolute", s.Path)
	case len(s.Args) == 0:
		s.Args = []string{s.Path}
	}
	if len(s.Environment) > maxEnvironment {
		return Shell{}, machine1.Errorf(machine1.ErrLimitsExceeded, "Too many environment assignments")
	}
	if !validEnvironment(s.Environment) {
		return Shell{}, machine1.Errorf(machine1.ErrInvalidArgs, "Invalid environment assignments")
	}
	return s, nil
}

// validUser reports whether name can be a user's: nearly everything that does
// not break a line of passwd or pass for a number that no user can have.
//
// Reference: user-util.c, valid_user_group_name, relaxed and numeric.
func validUser(name string) bool {
	if isUID(name) {
		return true
	}
	switch {
	case name == "", name == ".", name == "..",
		strings.HasPrefix(name, " "), strings.HasSuffix(name, " "),
		strings.ContainsAny(name, ":/"), !utf8.ValidString(name),
		strings.ContainsFunc(name, unicode.IsControl),
		isDigits(strings.TrimPrefix(name, "-")):
		return false
	}
	return true
}

// isUID reports whether s is the decimal number of a user. The largest numbers
// of 16 and 32 bits mean "no user".
func isUID(s string) bool {
	n, err := strconv.ParseUint(s, 10, 32)
	return err == nil && n != 0xffff && n != 0xffffffff && strconv.FormatUint(n, 10) == s
}

// isDigits is true for the empty string.
func isDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }

func validEnvironment(list []string) bool {
	seen := make(map[string]bool, len(list))
	for _, assignment := range list {
		name, value, ok := strings.Cut(assignment, "=")
		if !ok || seen[name] || !validVariable(name) ||
			!utf8.ValidString(value) || strings.Contains(value, "\x00") {
			return false
		}
		seen[name] = true
	}
	return true
}

func validVariable(name string) bool {
	if name == "" || len(name) > maxEnvironmentName || name[0] >= '0' && name[0] <= '9' {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// LastOfEach leaves the last assignment to each variable. D-Bus refuses
// repeated ones, and programs take either.
//
// Reference: json-util.c, json_dispatch_strv_environment.
func LastOfEach(environment []string) []string {
	var list []string
	place := map[string]int{}
	for _, assignment := range environment {
		name, _, _ := strings.Cut(assignment, "=")
		if i, again := place[name]; again {
			list[i] = assignment
			continue
		}
		place[name] = len(list)
		list = append(list, assignment)
	}
	return list
}
