package launch

import "strings"

// A group is what systemd-nspawn lets a command line and a .nspawn file decide
// about as a whole: one of them is heeded, never both.
type group string

// The groups that options of a start are in. The rest are named after what is
// on the command line.
const (
	groupStart       group = "start"
	groupEnvironment group = "environment"
	groupHostname    group = "hostname"
	groupUsers       group = "users"
	groupCapability  group = "capability"
	groupKillSignal  group = "kill-signal"
	groupEphemeral   group = "ephemeral"
	groupMounts      group = "mounts"
	groupNetwork     group = "network"
	groupPorts       group = "ports"
	groupImage       group = "image"
)

// An argument that a program of this kind takes.
type takes byte

const (
	takesNothing takes = iota
	takesValue
	takesMaybe // only behind an equals sign
)

type nspawnOption struct {
	long  string
	takes takes
	group group
}

// nspawnOptions are the options of systemd-nspawn 257 to 262, but for those that
// only inform. Reference: systemd-nspawn(1).
var nspawnOptions = options(
	takesNothing, "", "quiet keep-unit no-pager no-ask-password system cleanup",
	takesValue, "", "settings machine slice property register background console image-policy root-hash root-hash-sig verity-data template "+
		"selinux-context selinux-apifs-context set-credential load-credential "+
		"forward-journal forward-journal-max-use forward-journal-keep-free forward-journal-max-file-size forward-journal-max-files",
	takesNothing, "", "pipe",
	takesValue, groupImage, "directory image oci-bundle mstack",
	takesNothing, groupStart, "boot as-pid2",
	takesValue, groupEnvironment, "setenv",
	takesValue, groupHostname, "hostname",
	takesMaybe, groupUsers, "private-users",
	takesValue, groupUsers, "private-users-ownership private-users-delegate",
	takesNothing, groupUsers, "private-users-chown private-users-pick",
	takesValue, groupCapability, "capability drop-capability ambient-capability",
	takesValue, groupKillSignal, "kill-signal",
	takesNothing, groupEphemeral, "ephemeral",
	takesValue, groupMounts, "bind bind-ro inaccessible tmpfs overlay overlay-ro",
	takesNothing, groupNetwork, "private-network network-veth",
	takesValue, groupNetwork, "network-interface network-macvlan network-ipvlan network-veth-extra network-bridge network-zone network-namespace-path",
	takesValue, groupPorts, "port",
	takesMaybe, "volatile", "volatile",
	takesNothing, "read-only", "read-only",
	takesValue, "pivot-root", "pivot-root",
	takesValue, "chdir", "chdir",
	takesValue, "uid", "uid",
	takesMaybe, "uid", "user",
	takesValue, "uuid", "uuid",
	takesValue, "notify-ready", "notify-ready",
	takesValue, "suppress-sync", "suppress-sync",
	takesValue, "no-new-privileges", "no-new-privileges",
	takesValue, "system-call-filter", "system-call-filter",
	takesValue, "restrict-address-families", "restrict-address-families",
	takesValue, "rlimit", "rlimit",
	takesValue, "oom-score-adjust", "oom-score-adjust",
	takesValue, "cpu-affinity", "cpu-affinity",
	takesValue, "personality", "personality",
	takesValue, "resolv-conf", "resolv-conf",
	takesValue, "timezone", "timezone",
	takesValue, "link-journal", "link-journal",
	takesValue, "bind-user", "bind-user bind-user-shell bind-user-group",
)

// shortOptions are the letters for them. -U stands for two.
var shortOptions = map[byte]string{
	'q': "quiet", 'D': "directory", 'x': "ephemeral", 'i': "image", 'a': "as-pid2", 'b': "boot", 'E': "setenv", 'u': "uid",
	'M': "machine", 'S': "slice", 'U': "private-users", 'n': "network-veth", 'p': "port", 'Z': "selinux-context",
	'L': "selinux-apifs-context", 'j': "link-journal", 'P': "pipe",
}

// valueLetters are the letters that a value follows.
const valueLetters = "DiEuMSpZL"

func options(rows ...any) map[string]nspawnOption {
	known := map[string]nspawnOption{}
	for i := 0; i+2 < len(rows); i += 3 {
		var of group
		switch g := rows[i+1].(type) {
		case group:
			of = g
		case string:
			of = group(g)
		}
		for name := range strings.FieldsSeq(rows[i+2].(string)) {
			known[name] = nspawnOption{name, rows[i].(takes), of}
		}
	}
	return known
}

// settingsOf are the settings of .nspawn files for the groups that more than one
// place may speak of, as SECTION/KEY. A section alone is all of it.
//
// Reference: systemd.nspawn(5).
var settingsOf = map[group][]string{
	groupStart:                  {"Exec/Boot", "Exec/ProcessTwo", "Exec/Parameters"},
	groupEnvironment:            {"Exec/Environment"},
	groupHostname:               {"Exec/Hostname"},
	groupUsers:                  {"Exec/PrivateUsers", "Exec/PrivateUsersDelegate", "Files/PrivateUsersOwnership", "Files/PrivateUsersChown"},
	groupCapability:             {"Exec/Capability", "Exec/DropCapability", "Exec/AmbientCapability"},
	groupKillSignal:             {"Exec/KillSignal"},
	groupEphemeral:              {"Exec/Ephemeral"},
	groupMounts:                 {"Files/Bind", "Files/BindReadOnly", "Files/TemporaryFileSystem", "Files/Inaccessible", "Files/Overlay", "Files/OverlayReadOnly"},
	groupNetwork:                {"Network/Private", "Network/VirtualEthernet", "Network/VirtualEthernetExtra", "Network/Interface", "Network/MACVLAN", "Network/IPVLAN", "Network/Bridge", "Network/Zone", "Network/NamespacePath"},
	groupPorts:                  {"Network/Port"},
	"volatile":                  {"Files/Volatile"},
	"read-only":                 {"Files/ReadOnly"},
	"pivot-root":                {"Exec/PivotRoot"},
	"chdir":                     {"Exec/WorkingDirectory"},
	"uid":                       {"Exec/User"},
	"uuid":                      {"Exec/MachineID"},
	"notify-ready":              {"Exec/NotifyReady"},
	"suppress-sync":             {"Exec/SuppressSync"},
	"no-new-privileges":         {"Exec/NoNewPrivileges"},
	"system-call-filter":        {"Exec/SystemCallFilter"},
	"restrict-address-families": {"Exec/RestrictAddressFamilies"},
	"oom-score-adjust":          {"Exec/OOMScoreAdjust"},
	"cpu-affinity":              {"Exec/CPUAffinity"},
	"personality":               {"Exec/Personality"},
	"resolv-conf":               {"Exec/ResolvConf"},
	"timezone":                  {"Exec/Timezone"},
	"link-journal":              {"Exec/LinkJournal"},
	"bind-user":                 {"Files/BindUser", "Files/BindUserShell"},
}

// optionOfSetting are the options that say the same as a setting does once for
// each of its values. Groups of these grow: what options add does not take away
// what a file says.
var optionOfSetting = map[string]string{
	"Exec/Environment": "setenv", "Exec/Capability": "capability", "Exec/DropCapability": "drop-capability",
	"Exec/AmbientCapability": "ambient-capability",
	"Files/Bind":             "bind", "Files/BindReadOnly": "bind-ro", "Files/TemporaryFileSystem": "tmpfs",
	"Files/Inaccessible": "inaccessible", "Files/Overlay": "overlay", "Files/OverlayReadOnly": "overlay-ro",
	"Network/Port": "port",
}

// grows reports whether options add to what a file says of the group.
func (g group) grows() bool {
	settings := settingsOf[g]
	return len(settings) > 0 && optionOfSetting[settings[0]] != ""
}
