package booted

import (
	"strings"
	"testing"
)

// A copyLine is a line of a shell in a directory of the host, where m is machctl
// and g runs a line of a shell in the machine.
type copyLine struct {
	line string
	code int
	out  string
	says string // in what it says of what went wrong
}

// startCopyGuest starts a container with directories to copy into, and returns a
// directory of the host with files to copy.
func startCopyGuest(t *testing.T, name string) (dir string) {
	t.Helper()
	startByHand(t, watch(t), name, ownIDs["picked"]...)
	dir = t.TempDir()
	run(t, "sh", "-euc", `cd "$0"; echo one >file; echo two >other; mkdir -p tree/sub dir; echo three >tree/sub/deep; ln -s file link
		ln -s dir way; mkfifo fifo`, dir)
	run(t, "sh", "-euc", inGuest+`g "$1"`, name, `set -e; mkdir -p /srv/q /srv/tree/sub/deep /srv/full/file; echo old >/srv/q/taken; echo old >/srv/f
		ln -s q /srv/way; ln -s nowhere /srv/dangling; echo conf >/srv/web.conf`)
	return dir
}

// inGuest begins scripts, whose $0 is the machine, that run lines of a shell in it.
const inGuest = `g() { nsenter -t "$(machinectl show -P Leader "$0")" -a -- sh -c "$1"; }; `

func wantCopyLines(t *testing.T, dir, name string, place string, lines []copyLine) {
	t.Helper()
	functions := inGuest + `name=$0; cd "$1"; machctl=$2; place=$3; m() { "$machctl" $place "$@"; }; `
	for _, row := range lines {
		got := observe(t, "sh", "-c", functions+row.line, name, dir, machctlHere(), place)
		if got.Code != row.code || got.Stdout != row.out || !strings.Contains(got.Stderr, row.says) || row.code == 0 && got.Stderr != "" {
			t.Errorf("%s: exit status %d, want %d; %q, want %q; %q\n%s", row.line, got.Code, row.code, got.Stdout, row.out, row.says, got.Stderr)
		}
	}
}

// A file goes into a directory that is there, as with cp, and a directory is
// merged, whoever the daemon is.
func TestMachctlCopiesFilesIntoDirectories(t *testing.T) {
	const name = "copy-into"
	dir := startCopyGuest(t, name)
	wantCopyLines(t, dir, name, "", []copyLine{
		{`m copy-to $name file /srv/q/ && g 'cat /srv/q/file'`, 0, "one\n", ""},
		{`m copy-to $name other /srv/q && g 'cat /srv/q/other'`, 0, "two\n", ""},
		{`m copy-to $name file /srv/q/file`, 6, "", "xists"},
		{`m copy-to $name file /srv/q`, 6, "", "xists"},
		{`m copy-to --force $name other /srv/q/file && g 'cat /srv/q/file'`, 0, "two\n", ""},
		{`m copy-to --force $name file /srv/q && g 'cat /srv/q/file'`, 0, "one\n", ""},
		{`m copy-to --force $name file /srv/f && g 'cat /srv/f'`, 0, "one\n", ""},
		{`m copy-to $name file /srv/full`, 6, "", "xists"},
		{`m copy-to --force $name file /srv/full`, 6, "", "xists"},
		{`m copy-to $name link /srv/q && g 'readlink /srv/q/link'`, 0, "file\n", ""},
		{`m copy-to $name fifo /srv/q && g 'test -p /srv/q/fifo && echo a fifo'`, 0, "a fifo\n", ""},
		{`m copy-to $name file / && g 'cat /file'`, 0, "one\n", ""},
		// a link that leads to one stays
		{`g 'rm /srv/q/*'; m copy-to $name file /srv/way && g 'cat /srv/q/file; readlink /srv/way'`, 0, "one\nq\n", ""},
		{`m copy-to --force $name other /srv/way && g 'cat /srv/q/other; readlink /srv/way'`, 0, "two\nq\n", ""},
		{`m copy-to $name file /srv/dangling`, 6, "", "xists"},
		{`m copy-to --force $name file /srv/dangling && g 'cat /srv/dangling'`, 0, "one\n", ""},
		{`g 'ln -s loop /srv/loop'; m copy-to $name file /srv/loop`, 6, "", "xists"},
		{`m copy-to --force $name file /srv/loop && g 'cat /srv/loop'`, 0, "one\n", ""},
		// what says that it is a directory, and is none
		{`m copy-to $name file /srv/new/ || g 'ls -d /srv/n*'`, 1, "", "irectory"},
		{`m copy-to $name file /srv/new/x`, 1, "", "irectory"},
		// directories are merged, and never put into one
		{`m copy-to $name tree /srv/tree && g 'find /srv/tree | sort'`, 0, "/srv/tree\n/srv/tree/sub\n/srv/tree/sub/deep\n", ""},
		{`m copy-to --force $name tree /srv/tree 2>/dev/null; g 'find /srv/tree | sort'`, 0, "/srv/tree\n/srv/tree/sub\n/srv/tree/sub/deep\n", ""},
		{`m copy-to $name tree /srv/q && g 'cd /srv/q; find . -type f | sort'`, 0, "./file\n./other\n./sub/deep\n", ""},
		{`m copy-to --force $name tree /srv/f 2>/dev/null; g 'cat /srv/f'`, 0, "one\n", ""},
		{`m copy-to --force $name tree /srv/f`, 1, "", ""},
		{`m copy-to $name tree /srv/way`, 1, "", ""},
		{`m copy-to --force $name tree /srv/way 2>/dev/null; g 'ls /srv/q; readlink /srv/way'`, 0, "file\nother\nsub\nq\n", ""},

		{`m copy-from $name /srv/web.conf dir && cat dir/web.conf`, 0, "conf\n", ""},
		{`cd dir; rm web.conf; m copy-from $name /srv/web.conf . && cat web.conf`, 0, "conf\n", ""},
		{`m copy-from $name /srv/web.conf dir/`, 6, "", "xists"},
		{`m copy-from --force $name /srv/web.conf dir/ && cat dir/web.conf`, 0, "conf\n", ""},
		{`m copy-from --force $name /srv/web.conf other && cat other`, 0, "conf\n", ""},
		{`rm dir/*; m copy-from $name /srv/web.conf way && cat dir/web.conf; readlink way`, 0, "conf\ndir\n", ""},
		{`m copy-from --force $name /srv/web.conf way && readlink way`, 0, "dir\n", ""},
		{`m copy-from --force $name /srv/q way 2>/dev/null; ls dir; readlink way`, 0, "web.conf\ndir\n", ""},
		{`m copy-from $name /srv/q dir && ls dir`, 0, "file\nother\nsub\nweb.conf\n", ""},
		{`m copy-from --force $name /srv/q other`, 1, "", ""},

		// empty is not left out
		{`m copy-to $name '' /srv/x`, 2, "", "empty"},
		{`m copy-from $name /srv/web.conf ''`, 2, "", "empty"},
	})
}

// An archive of one file is treated as that file, however it comes.
func TestMachctlCopiesArchivesIntoDirectories(t *testing.T) {
	const name = "copy-into-archives"
	dir := startCopyGuest(t, name)
	wantCopyLines(t, dir, name, "", []copyLine{
		{`tar c file | m copy-to $name - /srv/q && g 'cat /srv/q/file'`, 0, "one\n", ""},
		{`tar c file other | m copy-to $name - /srv/q && g 'cat /srv/q/file /srv/q/other'`, 0, "one\ntwo\n", ""},
		{`tar c file | m copy-to $name - /srv/q`, 6, "", "xists"},
		{`tar c file --transform s/file/other/ | m copy-to --force $name - /srv/q && g 'cat /srv/q/other'`, 0, "one\n", ""},
		{`tar c file | m copy-to $name - /srv/new && g 'cat /srv/new'`, 0, "one\n", ""},
		{`tar c file | m copy-to $name - / && g 'cat /file'`, 0, "one\n", ""},
		{`tar c file | m copy-to $name - /srv/none/`, 1, "", "irectory"},
		{`tar c -C tree . | m copy-to $name - /srv/q && g 'cat /srv/q/sub/deep'`, 0, "three\n", ""},
		// what comes out is called as it is called there
		{`m copy-from $name /srv/web.conf - | tar xO web.conf`, 0, "conf\n", ""},
		{`m copy-from $name /srv/web.conf/ - | tar t`, 0, "web.conf\n", ""},
		{`m copy-from $name /srv/way - | tar t`, 0, "way\n", ""},
		{`m copy-from $name /srv/tree/ - | tar t | sort`, 0, "./\n./sub/\n./sub/deep/\n", ""},
		{`m copy-from $name / - >file`, 1, "", ""},
		{`m copy-from $name /srv/.. - >file`, 1, "", ""},
	})
	wantNothingOnItsWay(t, dir)
}

// So it is with a machine of another host.
func TestMachdRemoteCopiesIntoDirectories(t *testing.T) {
	const name = "copy-into-far"
	startFarHost(t)
	dir := startCopyGuest(t, name)
	wantCopyLines(t, dir, name, "--host="+farHost, append(copiesIntoDirectories(),
		copyLine{`m copy-to $name file /srv/none/`, 1, "", "there is no directory /srv/none in the machine"},
		copyLine{`mkdir mounted; mount -t tmpfs none mounted; m copy-from $name /srv/web.conf mounted && m copy-from $name /srv/tree mounted && ls mounted; umount mounted`, 0, "sub\nweb.conf\n", ""},
		copyLine{`m copy-from --force $name /srv/web.conf way && cat dir/web.conf; readlink way`, 0, "conf\ndir\n", ""},
	))
	wantNothingOnItsWay(t, dir, dir+"/dir")
	wantNoSSH(t)
}

// copiesIntoDirectories are lines with the same end wherever the machine is.
func copiesIntoDirectories() []copyLine {
	return []copyLine{
		{`m copy-to $name file /srv/q/ && g 'cat /srv/q/file'`, 0, "one\n", ""},
		{`m copy-to $name other /srv/q && g 'cat /srv/q/other'`, 0, "two\n", ""},
		{`m copy-to $name file /srv/q`, 6, "", "xists"},
		{`m copy-to --force $name file /srv/q && g 'cat /srv/q/file'`, 0, "one\n", ""},
		{`m copy-to --force $name file /srv/full`, 6, "", "xists"},
		{`m copy-to $name file /srv/f`, 6, "", "xists"},
		{`m copy-to $name tree /srv/q && g 'cat /srv/q/sub/deep'`, 0, "three\n", ""},
		{`m copy-from $name /srv/web.conf dir && cat dir/web.conf`, 0, "conf\n", ""},
		{`m copy-from $name /srv/web.conf dir/`, 6, "", "there"},
		{`m copy-from --force $name /srv/web.conf dir`, 0, "", ""},
		{`rm dir/*; m copy-from $name /srv/web.conf way && cat dir/web.conf; readlink way`, 0, "conf\ndir\n", ""},
		{`m copy-from $name /srv/web.conf file`, 6, "", "there"},
		{`m copy-from $name /srv/tree dir && ls dir`, 0, "sub\nweb.conf\n", ""},
	}
}
