package booted

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// stockTransfers are carried out by machinectl and by machctl called so. DIR
// has the files, URL the same by http. All texts are compared but those of
// failures that are found here and not by systemd-importd: they have words of
// their own.
var stockTransfers = []struct {
	line string
	own  bool // the text is our own
}{
	{"import-tar DIR/tx.tar", false},
	{"import-tar DIR/tx.tar tx.tar.xz", false},
	{"import-tar DIR/tx.tar.tar", false},
	{"import-tar -q DIR/tx.tgz", false},
	{"import-tar --read-only DIR/tx.tar", false},
	{"import-tar DIR/there.tar", false},
	{"import-tar --force DIR/there.tar", false},
	{"import-tar DIR/garbage.tar tx", false},
	{"import-raw DIR/tx.img.raw", false},
	{"import-raw DIR/tx.qcow2.bin.gz tx.raw", false},
	{"import-fs DIR/tx.d", false},
	{"import-fs DIR/tx.d tx", false},
	{"export-tar there DIR/out", false},
	{"export-tar there DIR/out.gz", false},
	{"export-tar --format=bzip2 there DIR/out.gz", false},
	{"export-raw there DIR/out", false},
	{"pull-tar --verify=no URL/tx.tar", false},
	{"pull-tar --verify=checksum URL/tx.tar?a=b tx", false},
	{"pull-tar URL/tx.tar", false},
	{"pull-tar --verify=no URL/nope.tar tx", false},
	{"pull-raw --verify=no URL/tx.img.raw", false},
	{"list-transfers", false},
	{"list-transfers --no-legend", false},
	{"export-tar nope DIR/out", true},
	{"export-tar there /dev/full", true},
	{"cancel-transfer 4000000", true},
	{"cancel-transfer x", true},
	{"cancel-transfer", true},
	{"import-tar DIR/nope.tar", true},
	{"import-tar DIR/tx.d", true},
	{"import-tar -", true},
	{"import-tar DIR/tx.tar ../tx", true},
	{"import-tar DIR/tx.tar a b", true},
	{"import-fs DIR/nope", true},
	{"pull-tar ftp://127.0.0.1/tx.tar", true},
	{"pull-tar --verify=maybe URL/tx.tar", true},
	{"pull-tar", true},
	{"export-tar --format=zip there DIR/out", true},
}

func TestMachdTransfersAreThoseOfTheStockCommand(t *testing.T) {
	names := []string{"tx", "tx.tar", "tx.d", "there"}
	dir := workDirectory(t, names...)
	archive := archiveOf(t, transferred, 1<<12)
	files := map[string][]byte{"tx.tar": archive, "tx.img.raw": bytes.Repeat([]byte("disk"), 1<<12)}
	for name, data := range map[string][]byte{"tx.tar": archive, "tx.tar.tar": archive, "there.tar": archive,
		"tx.img.raw": files["tx.img.raw"], "tx.qcow2.bin": files["tx.img.raw"], "garbage.tar": bytes.Repeat([]byte("garbage "), 1<<10)} {
		write(t, filepath.Join(dir, name), data)
	}
	run(t, "sh", "-c", "cd "+dir+" && gzip -c tx.tar >tx.tgz && gzip tx.qcow2.bin && mkdir tx.d && tar xf tx.tar -C tx.d")
	m := serveImages(t, files)
	for _, row := range stockTransfers {
		t.Run(row.line, func(t *testing.T) {
			line := strings.NewReplacer("DIR", dir, "URL", m.URL).Replace(row.line)
			difference := func() string {
				var played [2]playedTransfer
				for i, command := range []string{"machinectl", "machctl"} {
					forgetImages(t, names...)
					forgetDownloads(t)
					run(t, "machctl", "-q", "import-tar", dir+"/there.tar")
					played[i] = playTransfer(t, command, line, dir)
					if row.own {
						told := played[i].Stderr != ""
						played[i].Stderr = map[bool]string{true: "something", false: ""}[told]
					}
				}
				return cmp.Diff(played[0], played[1])
			}
			// What systemd-importd says on its way depends on the time that things
			// take. What is different by itself is so each time.
			diff := difference()
			for again := 0; diff != "" && again < 2; again++ {
				t.Logf("once there was (-machinectl +machctl):\n%s", diff)
				diff = difference()
			}
			if diff != "" {
				t.Errorf("(-machinectl +machctl):\n%s", diff)
			}
		})
	}
}

// A playedTransfer is how a line went, and what there was afterwards.
type playedTransfer struct {
	Code           int
	Stdout, Stderr string
	After          string
}

func playTransfer(t *testing.T, command, line, dir string) playedTransfer {
	t.Helper()
	path, err := exec.LookPath(command)
	must(t, err)
	out := filepath.Join(dir, "out")
	for _, file := range []string{out, out + ".gz"} {
		must(t, os.RemoveAll(file))
	}
	cmd := exec.CommandContext(t.Context(), path)
	cmd.Args = append([]string{"machinectl"}, strings.Fields(line)...)
	cmd.Env = append(os.Environ(), "TERM=dumb")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run()
	after := observe(t, "sh", "-c", "cd /var/lib/machines; find . -path ./c8-ns -prune -o -path ./tiny -prune -o -printf '%P %y %m %s\n' | sed 's/:[0-9]*\\\\x2f/:/' | sort; "+
		"for f in "+out+" "+out+".gz; do [ ! -s $f ] || head -c 3 $f | od -c; done")
	return playedTransfer{cmd.ProcessState.ExitCode(), stdout.String(), saidOfTransfer(stderr.String()), after.Stdout}
}

// What differs from one run to the next: the number of a transfer, how far it
// was when it was looked at, in which order things came, and whether that there
// is no file that is optional was known before the end. And the stock command
// says that it is another one by now, and draws its bar into files.
var (
	stockBar    = regexp.MustCompile(`(Total: +\d+%|\x1b\[K|\r)+`)
	stockNumber = regexp.MustCompile(`transfer job \d+`)
	passing     = regexp.MustCompile(`(?m)^(Imported|Exported|Got) \d+%.*\n|^(Acquired|Wrote) .*\n|^The 'machinectl .* has been replaced .*\n|` +
		`^HTTP request .*\.(nspawn|roothash|verity|p7s) failed .*\n|^.*proceeding without\.\n`)
)

func saidOfTransfer(text string) string {
	text = stockNumber.ReplaceAllString(stockBar.ReplaceAllString(text, ""), "transfer job N")
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line+"\n")
		}
	}
	slices.Sort(lines)
	return passing.ReplaceAllString(strings.Join(lines, ""), "")
}
