package booted

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/test/live"
	"github.com/machd/machd/test/terminal"
)

func TestMachdTransferImports(t *testing.T) {
	dir := workDirectory(t, "ti-tar", "ti-gz", "ti-raw", "ti-fs", "ti-pipe", "ti-socket")
	archive := write(t, dir+"/ti-tar.tar", archiveOf(t, transferred, 1<<20))
	run(t, "gzip", "-k", archive)
	must(t, os.Rename(archive+".gz", dir+"/ti-gz.tar.gz"))

	wantTransfer(t, 0, "machctl: imported "+archive+" as ti-tar (1M in ", "import-tar", archive)
	wantImageFile(t, "ti-tar", "etc/hostname", "transferred\n")
	wantTransfer(t, 6, "Image 'ti-tar' already exists\nmachctl: hint: --force replaces it\n", "import-tar", archive)
	write(t, archive, archiveOf(t, map[string]string{"etc/hostname": "replaced\n"}, 0))
	wantTransfer(t, 0, "", "import-tar", "-q", "--force", archive)
	wantImageFile(t, "ti-tar", "etc/hostname", "replaced\n")
	wantTransfer(t, 0, "", "import-tar", dir+"/ti-gz.tar.gz")
	wantImageFile(t, "ti-gz", "etc/hostname", "transferred\n")

	run(t, "truncate", "-s", "3M", dir+"/ti-raw.img")
	wantTransfer(t, 0, "as ti-raw (3M in ", "import-raw", dir+"/ti-raw.img", "--read-only")
	wantTransfer(t, 0, "", "-q", "import-fs", "/var/lib/machines/ti-gz", "ti-fs")
	wantImageFile(t, "ti-fs", "etc/hostname", "transferred\n")
	images := run(t, "machctl", "list-images", "--filter=name=ti-*", "--format", "{{.name}} {{.type}} {{.read_only}}")
	if want := "ti-fs directory false\nti-gz directory false\nti-raw raw true\nti-tar directory false"; images != want {
		t.Errorf("there are the images\n%s\nwant\n%s", images, want)
	}

	for name, line := range map[string]string{
		"ti-pipe":   "cat " + dir + "/ti-gz.tar.gz | machctl import-tar - ti-pipe",
		"ti-socket": "python3 -c '" + socketAsInput + "' " + dir + "/ti-gz.tar.gz machctl import-tar - ti-socket",
	} {
		run(t, "sh", "-c", line)
		wantImageFile(t, name, "etc/hostname", "transferred\n")
	}
	garbage := write(t, dir+"/garbage.tar", bytes.Repeat([]byte("garbage "), 1<<17))
	wantTransfer(t, 1, "machctl: cannot import "+garbage+": ", "import-tar", "--force", garbage, "ti-tar")
	wantTransfer(t, 1, "machctl: cannot import "+dir+"/nope.tar: no such file or directory", "import-tar", dir+"/nope.tar")
	wantTransfer(t, 1, "is a directory", "import-raw", dir)
	wantTransfer(t, 2, "so give a NAME", "import-tar", "-")
}

// socketAsInput runs a command whose standard input is a socket with a file.
const socketAsInput = `
import socket, subprocess, sys, threading
ours, theirs = socket.socketpair()
def send():
    with open(sys.argv[1], "rb") as f: ours.sendall(f.read())
    ours.close()
threading.Thread(target=send).start()
sys.exit(subprocess.run(sys.argv[2:], stdin=theirs).returncode)`

func TestMachdTransferExportsAndBack(t *testing.T) {
	dir := workDirectory(t, "te", "te-raw", "te-back")
	wantTransfer(t, 0, "", "-q", "import-tar", write(t, dir+"/te.tar", archiveOf(t, transferred, 1<<20)))
	disk := bytes.Repeat([]byte("disk"), 1<<18)
	wantTransfer(t, 0, "", "-q", "import-raw", write(t, dir+"/te-raw.raw", disk))

	formats := map[string][]byte{"": nil, ".xz": []byte("\xfd7zXZ"), ".gz": []byte("\x1f\x8b"), ".bz2": []byte("BZh"), ".zst": []byte("\x28\xb5\x2f\xfd")}
	for suffix, magic := range formats {
		if suffix == ".zst" && live.Host.Version < 258 {
			wantTransfer(t, 1, "hint: --format=xz is known to every systemd, zstd since 258", "export-tar", "te", dir+"/te.tar.zst")
			if _, err := os.Lstat(dir + "/te.tar.zst"); err == nil {
				t.Error("what could not be exported has left a file")
			}
			continue
		}
		for _, kind := range []string{"tar", "raw"} {
			image, file := map[string]string{"tar": "te", "raw": "te-raw"}[kind], dir+"/out."+kind+suffix
			wantTransfer(t, 0, "exported "+image+" to "+file+" (", "export-"+kind, image, file)
			data, err := os.ReadFile(file)
			must(t, err)
			if !bytes.HasPrefix(data, magic) {
				t.Errorf("%s begins with %q", file, data[:8])
			}
			wantTransfer(t, 0, "", "import-"+kind, "--force", file, "te-back")
			if kind == "tar" {
				wantImageFile(t, "te-back", "etc/hostname", "transferred\n")
			} else {
				wantImageFile(t, "te-back.raw", "", string(disk))
			}
			forgetImages(t, "te-back")
		}
	}

	run(t, "sh", "-c", "machctl -q export-tar te | tar t | grep -qx ./etc/hostname")
	run(t, "sh", "-c", "machctl -q export-raw --format=gzip te-raw - | gunzip | cmp - "+dir+"/te-raw.raw")
	run(t, "sh", "-c", "echo begun >"+dir+"/log; machctl -q export-raw te-raw >>"+dir+"/log; tail -c +7 "+dir+"/log | cmp - "+dir+"/te-raw.raw")
	wantTransfer(t, 3, "no such image", "export-tar", "te-nope", dir+"/te.tar")
	if data, err := os.ReadFile(dir + "/te.tar"); err != nil || len(data) == 0 {
		t.Error("an export of an image that is not there has emptied a file")
	}
	wantTransfer(t, 1, "write /dev/full: no space left on device", "export-raw", "te-raw", "/dev/full")
	wantTransfer(t, 1, "Is a directory", "export-raw", "te", dir+"/te.raw")
	wantTransfer(t, 1, "machctl: cannot export to "+dir+"/no/te.tar: no such file or directory", "export-tar", "te", dir+"/no/te.tar")
	reader := exec.Command("sh", "-c", "{ machctl -q export-raw te-raw; echo $? >"+dir+"/code; } | head -c 1 >/dev/null")
	must(t, reader.Run())
	if code, err := os.ReadFile(dir + "/code"); err != nil || string(code) != "141\n" {
		t.Errorf("whose reader goes, ends with %q, %v", code, err)
	}
}

func TestMachdTransferPulls(t *testing.T) {
	forgetDownloads(t)
	dir := workDirectory(t, "tp", "tp2", "tp-raw", "tp-file")
	archive := archiveOf(t, transferred, 1<<20)
	m := serveImages(t, map[string][]byte{"tp.tar": archive, "tp-raw.raw": bytes.Repeat([]byte("disk"), 1<<18)})

	wantTransfer(t, 1, "--verify=checksum trusts the server's SHA256SUMS", "pull-tar", m.URL+"/tp.tar")
	wantTransfer(t, 0, "machctl: pulled "+m.URL+"/tp.tar?why=not as tp (", "pull-tar", "--verify=checksum", m.URL+"/tp.tar?why=not")
	wantImageFile(t, "tp", "etc/hostname", "transferred\n")
	wantTransfer(t, 6, "already exists\nmachctl: hint: --force replaces it\n", "pull-tar", "--verify=checksum", m.URL+"/tp.tar")
	forgetDownloads(t)
	wantTransfer(t, 0, "", "pull-tar", "--verify=no", "-q", "-N", "--read-only", m.URL+"/tp.tar", "tp2")
	if kept, _ := filepath.Glob("/var/lib/machines/.tar-http*"); len(kept) > 0 {
		t.Errorf("with -N the download is kept: %q", kept)
	}
	wantTransfer(t, 0, "", "pull-raw", "--verify=checksum", m.URL+"/tp-raw.raw")
	wantTransfer(t, 0, "", "pull-tar", "--verify=no", "-q", "file://"+write(t, dir+"/tp-file.tar", archive))
	wantImageFile(t, "tp-file", "etc/hostname", "transferred\n")
	images := run(t, "machctl", "list-images", "--filter=name=tp*", "--format", "{{.name}} {{.type}} {{.read_only}}")
	if want := "tp directory false\ntp-file directory false\ntp-raw raw false\ntp2 directory true"; images != want {
		t.Errorf("there are the images\n%s\nwant\n%s", images, want)
	}

	o := wantTransfer(t, 1, "HTTP request to "+m.URL+"/nope.tar failed with code 404\n", "pull-tar", "--verify=no", m.URL+"/nope.tar")
	if strings.Contains(o.Stderr, "nope.nspawn") {
		t.Errorf("what is optional is told as missing:\n%s", o.Stderr)
	}
	wantTransfer(t, 1, "ould not connect to server", "pull-tar", "--verify=no", "http://127.0.0.1:1/x.tar")
	wantTransfer(t, 2, "cannot be downloaded from", "pull-tar", "ftp://127.0.0.1/x.tar")
}

// A portable service's image, and one of a system extension, by their letters.
func TestMachdTransferClasses(t *testing.T) {
	forgetDownloads(t)
	m := serveImages(t, map[string][]byte{"tc.tar": archiveOf(t, transferred, 0)})
	for letter, dir := range map[string]string{"-P": "portables", "-S": "extensions", "-C": "confexts"} {
		path := "/var/lib/" + dir + "/tc"
		must(t, os.RemoveAll(path))
		t.Cleanup(func() { os.RemoveAll(path) })
		wantTransfer(t, 0, "", "pull-tar", letter, "--verify=no", m.URL+"/tc.tar")
		if _, err := os.Lstat(path + "/etc/hostname"); err != nil {
			t.Errorf("%s: %v", letter, err)
		}
	}
}

func TestMachdTransferIsSeenLeftAndCanceled(t *testing.T) {
	forgetDownloads(t)
	workDirectory(t, "held")
	m := serveImages(t, map[string][]byte{"held.raw": bytes.Repeat([]byte("disk"), 1<<20)})
	term := openTerminal(t, "machctl", "pull-raw", "--verify=no", m.URL+"/held.raw")
	text, err := term.Expect(`\(transfer \d+\)`)
	must(t, err)
	id := regexp.MustCompile(`\d+`).FindString(text[strings.Index(text, "(transfer "):])
	<-m.held
	_, err = term.Expect(`held .*\d+%`)
	must(t, err)

	last := ""
	eventually(t, "it waits for the rest", func() error {
		before := last
		last = run(t, "machctl", "list-transfers", "--json=short")
		if last != before || strings.Contains(last, `"progress":0,`) {
			return errors.New(last)
		}
		return nil
	})

	want := fmt.Sprintf(`^ID +PROGRESS TYPE     CLASS   LOCAL REMOTE *\n *%s +\d+%% pull-raw machine held  %s/held.raw\n\n1 transfers? listed.$`, id, m.URL)
	if got := run(t, "machctl", "list-transfers"); !regexp.MustCompile(want).MatchString(got) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	dir := t.TempDir()
	if diff := cmp.Diff(playTransfer(t, "machinectl", "list-transfers", dir), playTransfer(t, "machctl", "list-transfers", dir)); diff != "" {
		t.Errorf("lists differ (-machinectl +machctl):\n%s", diff)
	}
	want = fmt.Sprintf(`^\[{"id":%s,"progress":0\.\d+,"type":"pull-raw","class":"machine","local":"held","remote":"%s/held.raw"}\]$`, id, m.URL)
	if got := run(t, "machctl", "list-transfers", "--json=short"); !regexp.MustCompile(want).MatchString(got) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	wantTransfer(t, 6, "list-transfers", "pull-raw", "--verify=no", m.URL+"/held.raw", "other")

	must(t, term.Type("\x03"))
	_, err = term.Expect(`transfer ` + id + ` goes on in the background`)
	must(t, err)
	wantExit(t, term, 130)
	if got := run(t, "machctl", "list-transfers", "--format", "{{.id}}"); got != id {
		t.Errorf("after ^C there are the transfers %q", got)
	}
	m.release()
	live.Eventually(t, "the image is there", func() error { _, err := os.Stat("/var/lib/machines/held.raw"); return err })
}

func TestMachdTransferIsCanceled(t *testing.T) {
	forgetDownloads(t)
	workDirectory(t, "held")
	m := serveImages(t, map[string][]byte{"held.raw": bytes.Repeat([]byte("disk"), 1<<20)})
	pull := exec.Command("machctl", "pull-raw", "--verify=no", m.URL+"/held.raw")
	var stderr bytes.Buffer
	pull.Stderr = &stderr
	must(t, pull.Start())
	<-m.held
	id := run(t, "machctl", "list-transfers", "--format", "{{.id}}")
	wantTransfer(t, 0, "", "cancel-transfer", id)
	_ = pull.Wait()
	if code := pull.ProcessState.ExitCode(); code != 1 || !strings.HasSuffix(stderr.String(), "/held.raw: it was canceled\n") {
		t.Errorf("exit status %d\n%s", code, &stderr)
	}
	wantTransfer(t, 3, "No transfer by id 4000000", "cancel-transfer", "4000000")
	if left, _ := filepath.Glob("/var/lib/machines/*held*"); len(left) > 0 {
		t.Errorf("there is still %q", left)
	}
}

func wantExit(t *testing.T, term *terminal.Terminal, code int) {
	t.Helper()
	err := term.Wait()
	if got := fmt.Sprint(err); !strings.Contains(got, fmt.Sprint("exit status ", code)) {
		t.Errorf("it ended with %v, want exit status %d", err, code)
	}
}

func TestMachdTransferAsksForAPassword(t *testing.T) {
	dir := workDirectory(t, "ta")
	archive := write(t, dir+"/ta.tar", archiveOf(t, transferred, 0))
	o := live.ObserveAs(t, "alice", "machctl", "import-tar", archive)
	if o.Code != 4 || !strings.Contains(o.Stderr, "hint: ") {
		t.Errorf("without a terminal: exit status %d\n%s", o.Code, o.Stderr)
	}
	o = live.ObserveAs(t, "alice", "machctl", "--no-ask-password", "export-tar", "tiny")
	if o.Code != 4 {
		t.Errorf("an export: exit status %d\n%s", o.Code, o.Stderr)
	}
	o = live.ObserveAs(t, "alice", "machctl", "list-transfers")
	if o.Code != 0 {
		t.Errorf("a list: exit status %d\n%s", o.Code, o.Stderr)
	}
	setRootsPassword(t)
	alice := startSession(t, "alice")
	term := openTerminal(t, alice.argv("machctl", "import-tar", archive)...)
	talk(t, term, [2]string{`AUTHENTICATING FOR org\.freedesktop\.import1\.import`, ""}, [2]string{`Password: `, ""})
	must(t, term.TypeHidden(secret+"\n"))
	talk(t, term, [2]string{`AUTHENTICATION COMPLETE`, ""}, [2]string{`imported .* as ta`, ""})
	must(t, term.Wait())
	wantImageFile(t, "ta", "etc/hostname", "transferred\n")
}

func TestMachdTransferWithoutImportd(t *testing.T) {
	const service = "/usr/share/dbus-1/system-services/org.freedesktop.import1.service"
	must(t, os.Rename(service, service+".away"))
	reload := func() {
		run(t, "busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "ReloadConfig")
	}
	t.Cleanup(func() {
		must(t, os.Rename(service+".away", service))
		reload()
		run(t, "systemctl", "start", "systemd-importd.socket")
	})
	run(t, "systemctl", "stop", "systemd-importd.socket", "systemd-importd.service")
	reload()
	wantTransfer(t, 7, `"apt install systemd-container"`, "list-transfers")
	wantTransfer(t, 7, `"apt install systemd-container"`, "import-fs", "/var/lib/machines/tiny", "tw")
}

func TestMachdTransferOfOCIImagesNeedsANewImportd(t *testing.T) {
	says := "onnect to server"
	if live.Host.Version < 260 {
		says = "this systemd-importd does not know pull-oci; that of systemd 260 does\n"
		o := live.ObserveAs(t, "alice", "machctl", "pull-oci", "localhost:1/web:1")
		if !strings.Contains(o.Stderr, says) {
			t.Errorf("to a user: exit status %d\n%s", o.Code, o.Stderr)
		}
	}
	wantTransfer(t, 1, says, "pull-oci", "localhost:1/web:1")
}
