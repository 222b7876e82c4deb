package inside_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/inside"
)

// errandProcess runs the process of an errand where we are, and returns what it
// says when it is told text.
func errandProcess(t *testing.T, leader int, text string) string {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	pidfd, err := unix.PidfdOpen(leader, 0)
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", inside.ErrandArgument)
	cmd.Env = []string{}
	cmd.Stdin, cmd.Stderr = theirs, os.Stderr
	cmd.ExtraFiles = []*os.File{null, null, os.NewFile(uintptr(pidfd), "leader")}
	err = cmd.Start()
	for _, f := range append(cmd.ExtraFiles[1:], theirs) {
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintln(conn, text)
	answer := make([]byte, 1<<16)
	n, err := conn.Read(answer)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	return string(answer[:n])
}

func TestAnErrandsProcessSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	elsewhere := startMachine(t, bare, true)
	long := strings.Repeat("ü", 1<<16)
	for _, c := range []struct {
		what   string
		leader int
		text   string
		says   string
	}{
		{"it is not in the leader's user namespace", elsewhere.leader.PID(), `{"Do":"OpenPTY"}`, "not that of process"},
		{"there is no such errand", os.Getpid(), `{"Do":"Sing"}`, `no errand \"Sing\"`},
		{"no text can be made of it", os.Getpid(), `]`, "cannot read the errand"},
		{"the reason is long", os.Getpid(), `{"Do":"` + long + `"}`, `no errand \"üü`},
	} {
		got := errandProcess(t, c.leader, c.text)
		var o struct{ Error struct{ Name, Text string } }
		if err := json.Unmarshal([]byte(got), &o); err != nil || o.Error.Name == "" {
			t.Errorf("%s: answered %.200q, %v", c.what, got, err)
		}
		if !strings.Contains(got, c.says) || len(o.Error.Text) > 4096 || strings.Contains(o.Error.Text, "\ufffd") {
			t.Errorf("%s: answered %.200q", c.what, got)
		}
	}
}

func TestAnErrandsProcessIsNotForOthers(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("/proc/self/exe", inside.ErrandArgument).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "for the daemon itself") {
		t.Errorf("%v: %s", err, out)
	}
}
