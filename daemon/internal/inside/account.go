package inside

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/daemon/internal/rootfs"
	"github.com/machd/machd/pkg/machd"
)

// maxGroups is how many groups a process can have.
//
// Reference: the kernel's NGROUPS_MAX.
const maxGroups = 65536

// An Account is a user as a machine's files know him, with the ids that he has
// there.
type Account struct {
	Name     string // the number if he has none
	UID, GID uint32
	Groups   []uint32 // besides GID
	Home     string
	Shell    string
}

// Account looks for a user, by name or number, in the files of the machine
// called name, or tells why there is none. A number need not be in any file.
func (g *Guard) Account(ctx context.Context, leader *proc.PIDFD, name, user string) (account Account, failed *machd.Outcome, err error) {
	found := false
	account, err = below(ctx, g, leader, func(root *os.File) (a Account, err error) {
		a, found = accountOf(root, user)
		return a, nil
	}, nothing)
	if err != nil {
		return Account{}, nil, fmt.Errorf("cannot look for user %q in machine %s: %w", user, name, err)
	}
	if !found {
		return Account{}, &machd.Outcome{
			Failure: machd.FailureRefused, Message: fmt.Sprintf("There is no user %q %s", user, whereIs(name)),
		}, nil
	}
	return account, nil, nil
}

func accountOf(root *os.File, user string) (Account, bool) {
	a, ok := findAccount(root, user)
	switch {
	case ok:
		a.Groups = groupsOf(root, a.Name)
	case user == defaultUser:
		a = Account{Name: defaultUser}
	case isUID(user):
		id, _ := strconv.ParseUint(user, 10, 32)
		a = Account{Name: user, UID: uint32(id), GID: uint32(id)}
	default:
		return Account{}, false
	}
	if !strings.HasPrefix(a.Home, "/") {
		a.Home = "/"
	}
	if !strings.HasPrefix(a.Shell, "/") {
		a.Shell = defaultShell
	}
	return a, true
}

// findAccount looks for a user in the machine's list.
func findAccount(root *os.File, user string) (Account, bool) {
	text, err := rootfs.ReadFile(root, "etc/passwd", maxPasswd)
	if err != nil {
		return Account{}, false
	}
	for line := range strings.Lines(string(text)) {
		const name, uid, gid, home, shell = 0, 2, 3, 5, 6
		fields := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(fields) <= shell || fields[name] != user && fields[uid] != user || !isUID(fields[uid]) || !isUID(fields[gid]) {
			continue
		}
		u, _ := strconv.ParseUint(fields[uid], 10, 32)
		g, _ := strconv.ParseUint(fields[gid], 10, 32)
		return Account{Name: fields[name], UID: uint32(u), GID: uint32(g), Home: fields[home], Shell: fields[shell]}, true
	}
	return Account{}, false
}

// groupsOf returns the groups that list the user.
func groupsOf(root *os.File, user string) (groups []uint32) {
	text, err := rootfs.ReadFile(root, "etc/group", maxPasswd)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		const gid, members = 2, 3
		fields := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(fields) <= members || !isUID(fields[gid]) || !slices.Contains(strings.Split(fields[members], ","), user) {
			continue
		}
		id, _ := strconv.ParseUint(fields[gid], 10, 32)
		if groups = append(groups, uint32(id)); len(groups) == maxGroups {
			break
		}
	}
	return groups
}
