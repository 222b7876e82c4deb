package booted

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// An answered message is one that was sent on a connection of its own, with
// what came back.
type answered struct {
	Message string
	Replies []string
	HungUp  bool // before the last reply
}

// varlinkScene is machines of all kinds to be asked about.
type varlinkScene struct {
	names *strings.Replacer
	conns map[string]*varlinkConn // by user and socket
}

func newVarlinkScene(t *testing.T) varlinkScene {
	t.Helper()
	w := watch(t)
	installGuest(t, "vl-guest")
	// It has no address with either: systemd-machined gives none.
	must(t, os.WriteFile(filepath.Join(settings, "vl-guest.nspawn"), []byte("[Exec]\nNotifyReady=yes\n[X-Machd]\nNetwork=no\n"), 0o644))
	run(t, "machinectl", "start", "vl-guest")
	register(t, w, "vl-process", startProcess(t, "vl-process"))
	vm := startProcess(t, "vl-vm")
	_, err := varlinkCall(t, "root", "io.systemd.Machine.Register", fmt.Sprintf(
		`{"name":"vl-vm","class":"vm","leader":%d,"vSockCid":77,"sshAddress":"vsock/77","id":"0123456789abcdef0123456789abcdef"}`, vm.pid))
	must(t, err)
	guest, err := varlinkCall(t, "root", "io.systemd.Machine.List", `{"name":"vl-guest"}`)
	must(t, err)
	leader := guest["leader"].(map[string]any)
	var shift uint32
	must(t, w.call(t, "GetMachineUIDShift", []any{"vl-guest"}, &shift))
	number := func(v any) string { return fmt.Sprintf("%.0f", v) }
	return varlinkScene{conns: map[string]*varlinkConn{}, names: strings.NewReplacer(
		"LEADER", number(leader["pid"]), "PIDFD", number(leader["pidfdId"]), "BOOT", leader["bootId"].(string), "PROCESS", fmt.Sprint(startProcess(t, "vl-free").pid),
		"SHIFT+33", fmt.Sprint(shift+33), "SHIFT", fmt.Sprint(shift))}
}

// ask sends a message to a socket and takes down what comes back.
func (s varlinkScene) ask(t *testing.T, user, socket, message string) answered {
	t.Helper()
	key := user + " " + socket
	conn := s.conns[key]
	if user != "root" {
		conn = nil // stock remembers of a connection what polkit has said
	}
	if conn == nil {
		conn = dialVarlinkAt(t, user, socket)
		s.conns[key] = conn
	}
	replies, err := conn.exchange(t, s.names.Replace(message))
	a := answered{Message: user + ": " + message}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		a.HungUp = true
		delete(s.conns, key)
	case errors.Is(err, os.ErrDeadlineExceeded):
		a.Replies = append(a.Replies, "nothing comes")
		delete(s.conns, key)
	case err != nil:
		t.Fatalf("%s: %v", message, err)
	}
	// In a stream, each has its own order.
	for i, r := range replies {
		if r.Continues != (i < len(replies)-1) {
			t.Errorf("%s: reply %d of %d continues: %t", message, i+1, len(replies), r.Continues)
		}
		r.Continues = false
		text, err := json.Marshal(r)
		must(t, err)
		a.Replies = append(a.Replies, withoutVarying(string(text)))
	}
	slices.Sort(a.Replies)
	return a
}

// unregister returns when no machine has this name, if one had.
func unregister(t *testing.T, name string) {
	t.Helper()
	named := `{"name":"` + name + `"}`
	varlinkCall(t, "root", "io.systemd.Machine.Unregister", named)
	eventually(t, name+" is gone", func() error {
		if _, err := varlinkCall(t, "root", "io.systemd.Machine.List", named); err == nil {
			return errors.New("it is there")
		}
		return nil
	})
}

// withoutVarying leaves out what no two answers have in common.
func withoutVarying(reply string) string {
	if strings.Contains(reply, `"name":".host"`) {
		reply = timestamps.ReplaceAllString(reply, `"timestamp"`)
	}
	if domains, list, ok := strings.Cut(reply, `"filterDomains":[`); ok {
		list, rest, _ := strings.Cut(list, "]")
		names := strings.Split(list, ",")
		slices.Sort(names)
		reply = domains + fmt.Sprint(names) + rest
	}
	if strings.Contains(reply, `"name":"vl-clone"`) || strings.Contains(reply, `"name":".vl-hidden"`) {
		reply = creations.ReplaceAllString(reply, "")
	}
	return terminals.ReplaceAllString(reply, "/dev/pts/N")
}

var (
	creations  = regexp.MustCompile(`"creationTimestamp":\d+,`)
	terminals  = regexp.MustCompile(`/dev/pts/\d+`)
	timestamps = regexp.MustCompile(`"timestamp":\{[^}]*\}`)
)

// askAll asks everything that varlink_trials_test.go has.
func (s varlinkScene) askAll(t *testing.T) []answered {
	t.Helper()
	var all []answered
	ask := func(socket, iface string, lines []string) {
		for _, line := range lines {
			user, call := "root", line
			if rest, ok := strings.CutPrefix(line, "alice "); ok {
				user, call = "alice", rest
			}
			message := call
			if !strings.HasPrefix(call, "{") {
				name, parameters, _ := strings.Cut(call, " ")
				method, more := strings.CutPrefix(name, "+")
				if message = varlinkMessage(iface+method, parameters); more {
					message = withMore(message)
				}
			}
			all = append(all, s.ask(t, user, socket, message))
			if strings.Contains(message, `"vl-new"`) {
				unregister(t, "vl-new")
			}
		}
	}
	ask(machine1.VarlinkSocket, "", rawTrials)
	ask(machine1.VarlinkSocket, "io.systemd.Machine.", lookUpTrials())
	ask(machine1.VarlinkSocket, "io.systemd.Machine.", machineTrials)
	ask(imageSocket, "io.systemd.MachineImage.", imageTrials)
	ask(machine1.VarlinkSocket, "io.systemd.service.", serviceTrials)
	ask(accountsSocket, "io.systemd.UserDatabase.", accountTrials)
	ask(hookSocket, "io.systemd.Resolve.Hook.", hookTrials)
	return all
}

// differences are what is answered otherwise on purpose, by a part of the
// message, and why.
var differences = map[string]string{
	`"pid":{"pid":LEADER,"pidfdId":1}`:                  "a process that took over the number must not be taken for the one that had it",
	`"leaderProcessId":{"pid":PROCESS,"pidfdId":null}`:  "the description says that it may be null, and everywhere else it may be",
	`alice: {"method":"io.systemd.service.SetLogLevel"`: "stock answers with the caller's parameters, against its own description",
}

func deliberately(message string) (why string) {
	for part, why := range differences {
		if strings.Contains(message, part) {
			return why
		}
	}
	return ""
}

// Whoever speaks Varlink cannot tell the one from the other.
func TestMachd262VarlinkCannotBeToldFromStock(t *testing.T) {
	removeHidden(t)
	s := newVarlinkScene(t)
	descriptions, sockets, answers := describeAll(t), lookAtSockets(t), s.askAll(t)
	clear(s.conns)
	useStockAsBooted(t)
	if diff := cmp.Diff(describeAll(t), descriptions); diff != "" {
		t.Errorf("descriptions (-systemd-machined +machd):\n%s", diff)
	}
	if diff := cmp.Diff(lookAtSockets(t), sockets); diff != "" {
		t.Errorf("sockets (-systemd-machined +machd):\n%s", diff)
	}
	compareAnswers(t, s.askAll(t), answers)
}

// useStockAsBooted is useStock with PID 1 holding stock's socket, as it does
// from a boot on.
func useStockAsBooted(t *testing.T) {
	t.Helper()
	const socket = "systemd-machined.socket"
	run(t, "systemctl", "disable", "--now", "machd.socket", "machd.service")
	t.Cleanup(func() { useMachd(t) })
	run(t, "systemctl", "start", socket)
	t.Cleanup(func() { observe(t, "systemctl", "stop", socket) })
	wantDaemon(t, stock)
}

func compareAnswers(t *testing.T, want, got []answered) {
	t.Helper()
	for i := range want {
		if why := deliberately(want[i].Message); why != "" {
			if cmp.Equal(want[i], got[i]) {
				t.Errorf("%s is answered alike, although %s", want[i].Message, why)
			}
			continue
		}
		if diff := cmp.Diff(want[i], got[i]); diff != "" {
			t.Errorf("%s\n(-systemd-machined +machd):\n%s", want[i].Message, diff)
		}
	}
	t.Logf("%d messages", len(want))
}
