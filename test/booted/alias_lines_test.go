package booted

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
)

const (
	aliasGuest = "alias-guest" // runs
	aliasVM    = "alias-vm"    // is registered as a virtual machine, without a control socket
	aliasImage = "alias-image" // is made for each line that changes images
)

// An aliasLine is a command line of machinectl's. GUEST, VM and IMAGE stand for
// the names above, ” for an empty word.
type aliasLine struct {
	line    string
	env     []string
	prepare func(t *testing.T)        // what is there before
	look    func(t *testing.T) string // what there is afterwards
}

// String has the environment in front.
func (l aliasLine) String() string {
	return strings.Join(append(slices.Clone(l.env), l.line), " ")
}

func lines(all ...string) []aliasLine {
	list := make([]aliasLine, len(all))
	for i, line := range all {
		list[i].line = line
	}
	return list
}

// inEnv is lines with something in their environment.
func inEnv(env string, all ...string) []aliasLine {
	list := lines(all...)
	for i := range list {
		list[i].env = strings.Fields(env)
	}
	return list
}

// looking are lines that change nothing.
var looking = lines(
	"", "list", "list -a", "list --all --full", "list -l", "list --max-addresses=0", "list --max-addresses=2 -a", "list --max-addresses all",
	"list --no-legend", "--no-legend list", "list -o json", "list -ojson", "list --output=json-pretty -a", "list -o json --max-addresses=0",
	"list -o short", "list -o json-seq", "list -o json-sse", "-q list", "list -V", "--runner=nspawn list", "--runner vmspawn list", "list --system",
	"list-images", "list-images -a", "list-images --no-legend", "list-images -o json", "list-images -a -o json-pretty",
	"show", "show GUEST", "show GUEST VM", "show .host", "show GUEST -a", "show VM --all", "show -p Leader --value GUEST", "show -P Leader GUEST",
	"show -p Class -p State -p Unit GUEST", "show -p Name,Class GUEST", "show -p NoSuchProperty GUEST", "show -p State=running GUEST",
	"show -p State=closing GUEST", "show -p NetworkInterfaces GUEST", "show -P Name -P Class GUEST", "show --value GUEST",
	"show -p leader GUEST", "show -p '' GUEST", "show --property= GUEST", "show --valu GUEST -p Class", "show -p PoolPath", "show -a",
	"status GUEST -n 0", "status VM -n0", "status VM GUEST -n 0", "status .host -n 0", "status GUEST --lines 0 --full --all",
	"image-status GUEST", "image-status", "image-status .host", "image-status GUEST c8-ns", "image-status tiny",
	"show-image GUEST", "show-image", "show-image .host", "show-image GUEST c8-ns -p Name -p Path", "show-image -P Type GUEST", "show-image -a GUEST",
	"show-image --value -p ReadOnly c8-ns",
	"show -o json -p Class GUEST", "status GUEST -n 0 -o json", "image-status -o json c8-ns", "show-image -o json -p Name c8-ns", "cat -o json GUEST",
	"cat GUEST", "cat GUEST GUEST", "shell GUEST /bin/echo a b", "shell GUEST /bin/echo --no-legend -a", "shell --uid=nobody GUEST /usr/bin/id -un",
	"shell nobody@GUEST /usr/bin/id -un", "shell --uid=root nobody@GUEST /usr/bin/id -un", "shell -q GUEST /bin/false", "shell --quiet root@GUEST /bin/true",
	"shell -E WORD=said GUEST /usr/bin/printenv WORD", "shell --setenv=A=1 -E A=2 GUEST /usr/bin/printenv A", "shell .host /bin/echo here",
	"shell nobody@ /usr/bin/id -un", "shell --uid=nobody .host /usr/bin/id -un",
	"kill GUEST --kill-whom=leader --signal=SIGCHLD", "kill GUEST --kill-who=leader -s CHLD", "kill -sSIGCHLD --kill-whom leader GUEST", "kill GUEST --kill-whom=leader -s 17",
	"kill -s help", "kill --signal=list", "-s help", "list --signal=help", "-o help", "list --output=help", "--verify=help", "list --verify=help", "--format=help list",
	"list-transfers", "--no-legend list-transfers", "-q list-transfers",
	"-q -- list", "--no-legend -- list", "-p Class -- show GUEST", "-- list -a", "-- show -- GUEST", "-- -- list", "- list", "- -a", "-a -- list --", "-qlan list",
	"-- shell GUEST -- /bin/echo x", "shell -- GUEST /bin/echo x", "-q shell -- GUEST -q /bin/echo", "shell GUEST - x", "-q shell GUEST /bin/echo -q -- x --uid=nobody",
	"list --max-addresses=4294967295", "list --max-addresses=0x2", "list --max-addresses=+2", "list --max-addresses=-0", "list --max-addresses=0b1", "list -n +5", "list -n 0x5",
	"list -n -0", "list -n 4294967295", "list -s 0xf", "list -s +15", "list -s 017", "list -s RTMIN+0x3", "list -s RTMAX-30", "list -s SIGRTMIN",
	"list --no-ask-password", "list --no-pager --no-legend", "list -- ", "-- list", "list --full --force --mkdir --read-only --now --uid=x",
)

// readOtherwise are lines that 257 reads otherwise: it takes the next word for the
// value of a cluster's option twice over, and no options behind a shell's NAME.
var readOtherwise = lines(
	"-qn 0 status GUEST", "-qp Class show GUEST", "-ao json-pretty list", "-qs CHLD kill GUEST --kill-whom=leader", "-qE A=1 shell GUEST /bin/true",
	"shell GUEST -- /bin/echo x", "shell GUEST --uid=nobody /usr/bin/id -un", "-q shell GUEST --uid nobody /usr/bin/id -un", "shell GUEST --setenv=A=5 /usr/bin/printenv A",
	"shell GUEST -q -- /bin/echo x", "-q shell GUEST -qE A=1 /usr/bin/printenv A", "shell GUEST -- -q /bin/echo x", "shell GUEST --frobnicate /bin/echo", "shell GUEST --uid",
)

// inLocales are looked at in other locales and with other terminals.
var inLocales = append(append(
	inEnv("LC_ALL=C", "list -a --max-addresses=1", "list", "list-images", "status GUEST -n 0", "image-status c8-ns", "frobnicate"),
	inEnv("LC_ALL=C.UTF-8", "list -a --max-addresses=1", "list", "list-images", "status GUEST -n 0", "show GUEST", "frobnicate")...),
	append(inEnv("COLUMNS=40 TERM=dumb", "list -a", "list-images", "status VM -n 0"),
		append(inEnv("SYSTEMD_COLORS=1 NO_COLOR=1", "list -a"), inEnv("TZ=Asia/Tokyo", "show GUEST -p Timestamp", "list-images -a")...)...)...)

// wrong are lines that are refused, most of them before anything is asked.
var wrong = lines(
	// unknown verbs, and what could be meant
	"frobnicate", "lst", "strat GUEST", "list-image", "''", "List", "--all frobnicate",
	// too few or too many arguments
	"status", "start", "enable", "disable", "poweroff", "stop", "reboot", "restart", "terminate", "kill", "bind", "bind GUEST", "copy-to GUEST",
	"copy-from GUEST", "clone", "clone c8-ns", "rename c8-ns", "read-only", "remove", "set-limit", "edit", "cat", "pause", "resume", "bind-volume GUEST", "unbind-volume",
	"list x", "list-images x", "login GUEST x", "bind GUEST /a /b /c", "copy-to GUEST a b c", "clone a b c", "rename a b c", "read-only a yes no",
	"set-limit a 1 2", "clean x", "bind-volume GUEST a:b c", "unbind-volume GUEST a:b c",
	// options that are none, ambiguous, lack a value or have too much
	"--frobnicate", "list --frobnicate", "list -Z", "list -aZ", "--no", "--no-p list", "--ver", "--f list", "--va list", "--li 0 list", "-p", "show -p", "list --output",
	"--wat list", "--js list", "-N list", "-S list", "-f list", "-w list", "-u root list", "-aj list", "--dry list", "--zone=x list", "--help=1", "--version=1", "-Z --help", "---all list",
	"--max-addresses", "list --all=yes", "list --full=x", "--machine", "list -n", "--value=x show", "--no-legend=0 list", "list --json=pretty", "-j list",
	// values that are none
	"--lines=-1 list", "--lines=x list", "-n '' list", "--lines=99999999999 list", "--max-addresses=full list", "--max-addresses=-1 list", "--max-addresses=x list",
	"-o nothing list", "--output= list", "--output=JSON list", "--signal=FOO list", "-s 99 list", "-s 0 kill GUEST", "-s '' list", "-s RTMIN+40 list", "-s RTMAX+1 list",
	"--max-addresses=08 list", "--max-addresses=4294967296 list", "--max-addresses=1_0 list", "-s term list", "-s SIG15 list", "-s rtmin list", "-s RTMIN3 list", "-s RTMAX+0 list", "-s -15 list",
	"--runner=x list", "--runner= list", "--verify=x list", "--format=x list", "--format=gzip list", "-E 1x=2 list", "-E =x list", "-E '' list", "-E NOSUCHVARIABLE list",
	// names that nothing has, or can have
	"status nobody", "show nobody", "show nobody GUEST", "show nobody -P Leader", "status nobody nobody2", "image-status nobody", "show-image nobody", "show-image GUEST nobody",
	"start nobody", "start nobody GUEST", "start nobody -- GUEST", "start bad_name", "start ''", "start .host", "start a/b", "start "+strings.Repeat("x", 65), "start -- -x", "enable nobody", "enable bad_name", "disable nobody",
	"disable bad_name", "enable .host", "terminate nobody", "terminate ''", "terminate bad_name", "terminate .host", "kill nobody", "kill .host", "kill ''", "kill bad/name", "kill nobody GUEST -s CHLD --kill-whom=leader",
	"kill GUEST --kill-whom=nothing", "kill GUEST --kill-whom=supervisor -s CHLD", "poweroff nobody", "poweroff .host", "reboot nobody", "reboot .host", "stop nobody", "restart nobody",
	"login nobody", "login bad/name", "shell nobody /bin/true", "shell nobody", "shell @GUEST", "shell nobody@nobody /bin/true", "shell GUEST relative/path",
	"shell nosuchuser@GUEST /bin/true", "shell --uid=nosuchuser GUEST /bin/true", "shell VM /bin/true", "login VM", "shell GUEST /no/such/program",
	"login --uid=x GUEST", "login -E A=1 GUEST", "-H nohost login GUEST", "-H nohost shell GUEST", "-H nohost edit GUEST", "-H nohost cat GUEST", "-M nobody list", "-M bad/name list", "-M '' list",
	"-M VM list", "--machine=nobody@ list",
	"bind nobody /etc /mnt", "bind GUEST relative /mnt", "bind GUEST /etc relative", "bind GUEST /etc ../mnt", "bind GUEST /no/such /mnt", "bind VM /etc /mnt", "bind .host /etc /mnt", "bind GUEST /etc /mnt/new --read-only",
	"copy-to nobody /etc/hostname /tmp/x", "copy-to GUEST /no/such /tmp/x", "copy-to GUEST /etc/hostname relative", "copy-to GUEST /etc/hostname /no/such/dir/x", "copy-to VM /etc/hostname /tmp/x",
	"copy-to GUEST etc", "copy-from nobody /etc/hostname /tmp/x", "copy-from GUEST /no/such /tmp/x", "copy-from GUEST relative /tmp/x", "copy-from GUEST /etc/hostname /etc/hostname", "copy-from .host /etc/hostname /tmp/x",
	"clone nobody new", "clone c8-ns c8-ns", "clone c8-ns bad/name", "clone c8-ns ''", "clone c8-ns .#x", "rename nobody new", "rename GUEST new", "rename c8-ns tiny", "rename c8-ns bad/name", "rename .host new",
	"remove nobody", "remove .host", "remove GUEST", "remove bad/name", "remove ''", "read-only nobody", "read-only c8-ns maybe", "read-only c8-ns ''", "read-only .host", "read-only bad/name",
	"set-limit c8-ns 1G5M", "set-limit c8-ns 15E", "set-limit c8-ns .5G", "set-limit c8-ns 5M1G", "set-limit c8-ns 18446744073709551615", "set-limit c8-ns 16E",
	"set-limit 1Q", "set-limit nobody 1G", "set-limit c8-ns ''", "set-limit c8-ns 1G", "set-limit 1G", "set-limit c8-ns -- -1", "set-limit bad/name 1G",
	"cat nobody", "cat bad/name", "cat ''", "cat nobody GUEST", "edit GUEST", "edit -V GUEST", "cat -V GUEST",
	"start -V nobody", "start --runner=vmspawn bad_name", "enable -V nobody", "disable -V nobody",
	"pause GUEST", "pause nobody", "pause .host", "pause ''", "resume VM", "resume nobody", "pause GUEST nobody",
	"bind-volume GUEST a:b", "bind-volume nobody a:b", "bind-volume GUEST a", "bind-volume GUEST a:b::x=1", "bind-volume GUEST a:b:nvme:create=maybe", "bind-volume GUEST ''",
	"unbind-volume GUEST a:b", "unbind-volume nobody a:b", "unbind-volume GUEST a", "-H nohost bind-volume GUEST a:b",
	"pull-tar", "pull-tar x", "pull-raw x", "import-tar", "import-tar /no/such x", "import-raw /no/such", "import-fs /no/such", "export-tar", "export-tar nobody /tmp/x", "export-raw nobody", "cancel-transfer", "cancel-transfer x", "cancel-transfer 7",
	"pull-tar https://localhost/x.tar.xz bad/name", "pull-raw ftp://x/y.raw", "list-transfers x",
	// bytes that are no text
	"\xff\xfe", "show \xff", "status m\xc3", "start \xff", "terminate \xff\xfe", "kill \xff", "list \xff", "shell \xff /bin/true", "remove \xff", "clone c8-ns \xff", "cat \xff", "--output=\xff list", "-p \xff show GUEST", "--\xff list",
)

// changing are lines that change images, settings or what starts with the host.
func changing() []aliasLine {
	const (
		pool  = guests
		links = "/etc/systemd/system/machines.target.wants"
	)
	image := func(t *testing.T) {
		t.Helper()
		must(t, os.MkdirAll(filepath.Join(pool, aliasImage, "etc"), 0o755))
		must(t, os.WriteFile(filepath.Join(pool, aliasImage, "etc/os-release"), []byte("ID=alias\nPRETTY_NAME=\"An alias\"\n"), 0o644))
		must(t, os.WriteFile(filepath.Join(pool, aliasImage, "etc/hostname"), []byte("called-so\n"), 0o644))
		must(t, os.WriteFile(filepath.Join(pool, aliasImage, "etc/machine-info"), []byte("DEPLOYMENT=testing\n"), 0o644))
		must(t, os.WriteFile(filepath.Join("/etc/systemd/nspawn", aliasImage+".nspawn"), []byte("[Exec]\nBoot=yes\n"), 0o644))
	}
	hidden := func(t *testing.T) {
		t.Helper()
		image(t)
		must(t, os.MkdirAll(filepath.Join(pool, ".alias-hidden"), 0o755))
	}
	files := func(t *testing.T) string {
		t.Helper()
		var all []string
		for _, pattern := range []string{pool + "/*alias-im*", pool + "/.alias*", "/etc/systemd/nspawn/alias-im*", links + "/*alias*"} {
			found, _ := filepath.Glob(pattern)
			for _, file := range found {
				to, _ := os.Readlink(file)
				all = append(all, fmt.Sprintf("%s -> %s %s", file, to, strings.TrimSpace(observe(t, "lsattr", "-d", file).Stdout)))
			}
		}
		sort.Strings(all)
		return strings.Join(all, "\n")
	}
	var all []aliasLine
	for _, line := range []string{
		"image-status IMAGE", "show-image IMAGE", "clone IMAGE alias-image-2", "clone --read-only IMAGE alias-image-2", "rename IMAGE alias-image-2", "remove IMAGE",
		"remove nobody IMAGE", "read-only IMAGE", "read-only IMAGE yes", "read-only IMAGE 0", "cat IMAGE", "enable IMAGE", "enable -q IMAGE", "enable -V IMAGE", "enable --runner=vmspawn -q IMAGE",
		"enable IMAGE nobody", "disable IMAGE", "enable IMAGE bad_name",
	} {
		all = append(all, aliasLine{line: line, prepare: image, look: files})
	}
	enabled := func(t *testing.T) {
		t.Helper()
		image(t)
		must(t, os.MkdirAll(links, 0o755))
		for _, kind := range []string{"nspawn", "vmspawn"} {
			template := fmt.Sprintf("systemd-%s@.service", kind)
			if _, err := os.Stat("/usr/lib/systemd/system/" + template); err == nil {
				must(t, os.Symlink("/usr/lib/systemd/system/"+template, fmt.Sprintf("%s/systemd-%s@%s.service", links, kind, aliasImage)))
			}
		}
	}
	for _, line := range []string{"disable IMAGE", "disable -q IMAGE", "disable -V IMAGE", "enable IMAGE", "disable IMAGE nobody", "disable --now IMAGE"} {
		all = append(all, aliasLine{line: line, prepare: enabled, look: files})
	}
	for _, line := range []string{"clean", "clean -q", "list-images -a"} {
		all = append(all, aliasLine{line: line, prepare: hidden, look: files})
	}
	all = append(all, copying()...)
	return all
}

// copying are lines that copy and mount files.
func copying() []aliasLine {
	const there = "/root/alias"
	inside := func(path string) string { return filepath.Join(guests, aliasGuest, path) }
	prepare := func(t *testing.T) {
		t.Helper()
		must(t, os.MkdirAll("/tmp/alias-here/sub", 0o755))
		must(t, os.WriteFile("/tmp/alias-here/file", []byte("from here"), 0o640))
		must(t, os.Chown("/tmp/alias-here/file", 1000, 1000))
		must(t, os.MkdirAll(inside(there), 0o755))
		must(t, os.WriteFile(inside(there+"/inside"), []byte("from inside"), 0o600))
		must(t, os.WriteFile(inside(there+"/taken"), []byte("taken"), 0o600))
	}
	look := func(t *testing.T) string {
		t.Helper()
		list := observe(t, "sh", "-c", "cd "+inside("root")+" && find alias -printf '%p %m %U %G %s\n' | sort; cd /tmp && find alias-* -printf '%p %m %U %G %s\n' | sort; "+
			"machinectl -q shell "+aliasGuest+" /usr/bin/findmnt -rno TARGET,OPTIONS /root/mounted | sed 's/,.*//'")
		return list.Stdout
	}
	var all []aliasLine
	for _, line := range []string{
		"copy-to GUEST /tmp/alias-here /root/alias/new", "copy-to GUEST /tmp/alias-here/file /root/alias/taken", "copy-to --force GUEST /tmp/alias-here/file /root/alias/taken",
		"copy-from GUEST /root/alias /tmp/alias-new", "copy-from GUEST /root/alias/inside /tmp/alias-here/file", "copy-from --force GUEST /root/alias/inside /tmp/alias-here/file",
		"copy-from GUEST /root/alias/inside", "copy-to GUEST /tmp/alias-here",
	} {
		all = append(all, aliasLine{line: line, prepare: prepare, look: look})
	}
	return all
}
