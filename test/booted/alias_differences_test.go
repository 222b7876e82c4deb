package booted

import (
	"slices"

	"github.com/machd/machd/test/live"
)

// An aliasDifference is where machctl, called machinectl, does not do as
// machinectl does.
type aliasDifference struct {
	why     string
	lines   []string // with their environment in front
	version int      // of systemd, where it is only one
	daemon  string   // likewise
	code    bool     // the exit status differs as well, or in some runs if it does perhaps
	perhaps bool     // it differs in some runs only
}

func (d aliasDifference) about(line, daemon string) bool {
	return (d.version == 0 || d.version == live.Host.Version) && (d.daemon == "" || d.daemon == daemon) && slices.Contains(d.lines, line)
}

// aliasDifferences are all that there are. The first one about a line counts.
var aliasDifferences = []aliasDifference{
	{why: "options of 262, and of machctl, are accepted with 257 as well, and by the name machinectl", version: 257, code: true,
		lines: []string{"list --system"}},
	{why: "options of machctl are accepted by the name machinectl, too", code: true, lines: []string{"list --json=pretty"}},
	{why: "a switch may be given a value, which scripts for machctl do", code: true, lines: []string{"--no-legend=0 list"}},
	{why: "what machinectl cannot print is printed", lines: []string{"show GUEST -a", "show VM --all", "show -p NetworkInterfaces GUEST"}, perhaps: true},
	{why: "the tree of all processes of the host is for systemd-cgls", lines: []string{"status .host -n 0"}},
	{why: "machd says that there is no such user or program, where it can tell in time", daemon: machd, perhaps: true, code: true,
		lines: []string{"shell nosuchuser@GUEST /bin/true", "shell --uid=nosuchuser GUEST /bin/true", "shell GUEST /no/such/program"}},
	{why: "257 ends a line that was never begun", version: 257, perhaps: true, lines: []string{"shell -q GUEST /bin/false", "shell --quiet root@GUEST /bin/true",
		"shell nosuchuser@GUEST /bin/true", "shell --uid=nosuchuser GUEST /bin/true", "shell GUEST /no/such/program"}},
	{why: "transfers are made here, and not by importctl, of whose words only the results are kept", lines: []string{
		"list-transfers", "--no-legend list-transfers", "pull-tar", "pull-tar x", "pull-raw x", "import-tar", "import-tar /no/such x", "import-raw /no/such", "import-fs /no/such",
		"export-tar", "export-tar nobody /tmp/x", "export-raw nobody", "cancel-transfer", "cancel-transfer x", "cancel-transfer 7",
		"pull-tar https://localhost/x.tar.xz bad/name", "pull-raw ftp://x/y.raw", "list-transfers x"}},
	{why: "colour is for terminals; $SYSTEMD_COLORS is not asked", lines: []string{"SYSTEMD_COLORS=1 NO_COLOR=1 list -a"}, perhaps: true},
	{why: "257 does not know these verbs", version: 257, lines: []string{
		"pause", "resume", "bind-volume GUEST", "unbind-volume", "bind-volume GUEST a:b c", "unbind-volume GUEST a:b c", "pause GUEST", "pause nobody", "pause .host", "pause ''",
		"resume VM", "resume nobody", "pause GUEST nobody", "bind-volume GUEST a:b", "bind-volume nobody a:b", "bind-volume GUEST a", "bind-volume GUEST a:b::x=1",
		"bind-volume GUEST a:b:nvme:create=maybe", "bind-volume GUEST ''", "unbind-volume GUEST a:b", "unbind-volume nobody a:b", "unbind-volume GUEST a", "-H nohost bind-volume GUEST a:b"}},
	{why: "257 takes the word behind a cluster's value for another one, and no options behind the name of a shell", version: 257, code: true, lines: []string{
		"-qn 0 status GUEST", "-qp Class show GUEST", "-ao json-pretty list", "-qs CHLD kill GUEST --kill-whom=leader", "-qE A=1 shell GUEST /bin/true",
		"shell GUEST -- /bin/echo x", "shell GUEST --uid=nobody /usr/bin/id -un", "-q shell GUEST --uid nobody /usr/bin/id -un", "shell GUEST --setenv=A=5 /usr/bin/printenv A",
		"shell GUEST -q -- /bin/echo x", "-q shell GUEST -qE A=1 /usr/bin/printenv A", "shell GUEST -- -q /bin/echo x", "shell GUEST --frobnicate /bin/echo", "shell GUEST --uid"}},
	{why: "wrong options are said to be so once, in the words of 262", version: 257, lines: []string{
		"-j list", "-N list", "-S list", "-f list", "-w list", "-u root list", "-aj list", "--zone=x list", "-Z --help",
		"list --frobnicate", "list -Z", "list -aZ", "--no", "--ver", "--f list", "-p", "show -p", "list --output", "list --all=yes", "list --full=x", "list -n"}},
	{why: "the names that none can have are refused before anything is asked", lines: []string{"login bad/name", "pause ''"}, perhaps: true},
	{why: "login, shell, edit and cat work on other hosts, too, or say why not", lines: []string{
		"-H nohost login GUEST", "-H nohost shell GUEST", "-H nohost edit GUEST", "-H nohost cat GUEST"}},
	{why: "why a bus cannot be reached is told in full", lines: []string{"-M nobody list", "-M VM list", "--machine=nobody@ list"}, perhaps: true},
	{why: "262 names the error of its look-up, and we say as 257 and the bus do what is wrong", version: 262, lines: []string{
		"poweroff nobody", "reboot nobody", "stop nobody", "restart nobody", "terminate nobody", "reboot .host", "terminate ''", "terminate bad_name", "terminate \xff\xfe",
		"disable --now IMAGE"}},
	{why: "bytes that are no text are shown as ?, and what is wrong with them is told in our words", perhaps: true, lines: []string{
		"\xff\xfe", "show \xff", "status m\xc3", "start \xff", "terminate \xff\xfe", "kill \xff", "shell \xff /bin/true", "remove \xff", "clone c8-ns \xff", "cat \xff",
		"--output=\xff list", "--\xff list"}},
	{why: "that there is nothing to disable is no failure", version: 257, lines: []string{"disable -V IMAGE"}, code: true},
	{why: "machd tells of the supervisor with 257, too, and machinectl 257 does not show it", version: 257, daemon: machd, perhaps: true, lines: []string{
		"status GUEST -n 0", "status VM -n0", "status VM GUEST -n 0", "status GUEST --lines 0 --full --all",
		"LC_ALL=C status GUEST -n 0", "LC_ALL=C.UTF-8 status GUEST -n 0", "COLUMNS=40 TERM=dumb status VM -n 0",
		"status GUEST -n 0 -o json"}},
}
