package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/machine1"
)

// A played service answers at a socket what a test says, and keeps what it got.
type played struct {
	mu    sync.Mutex
	calls []string // method, parameters and, for each descriptor, what it holds
	reply map[string]reply
}

// A reply is one answer: parameters or an error, and a file that goes with it.
type reply struct {
	parameters, err string
	file            string // its path

	silent, hangUp bool // instead of an answer
}

func play(t *testing.T, path string, replies map[string]reply) *played {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p := &played{reply: replies}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c.(*net.UnixConn))
		}
	}()
	return p
}

func (p *played) serve(c *net.UnixConn) {
	defer c.Close()
	buffer, control := make([]byte, 64<<10), make([]byte, 1024)
	for {
		n, oob, _, _, err := c.ReadMsgUnix(buffer, control)
		if err != nil || n == 0 {
			return
		}
		var call struct {
			Method     string
			Parameters json.RawMessage
		}
		if json.Unmarshal(bytes.TrimSuffix(buffer[:n], []byte{0}), &call) != nil {
			return
		}
		line := fmt.Sprintf("%s %s", call.Method, call.Parameters)
		if messages, err := unix.ParseSocketControlMessage(control[:oob]); err == nil {
			for _, m := range messages {
				fds, _ := unix.ParseUnixRights(&m)
				for _, fd := range fds {
					content, _ := io.ReadAll(os.NewFile(uintptr(fd), "got"))
					line += fmt.Sprintf(" [%s]", content)
				}
			}
		}
		p.mu.Lock()
		p.calls = append(p.calls, line)
		p.mu.Unlock()
		r := p.reply[call.Method]
		switch {
		case r.hangUp:
			return
		case r.silent:
			continue
		}
		answer := map[string]any{}
		if r.err != "" {
			answer["error"] = r.err
		}
		if r.parameters != "" {
			answer["parameters"] = json.RawMessage(r.parameters)
		}
		text, _ := json.Marshal(answer)
		var rights []byte
		if f, err := os.Open(r.file); err == nil {
			rights = unix.UnixRights(int(f.Fd()))
			defer f.Close()
		}
		c.WriteMsgUnix(append(text, 0), rights, nil)
	}
}

func (p *played) got() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	calls := p.calls
	p.calls = nil
	return calls
}

const lookup = "io.systemd.Machine.List"

// hostWith plays a host with one machine that has a control socket.
func hostWith(t *testing.T, replies map[string]reply) (c *Client, machines, control *played) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "control")
	machines = play(t, filepath.Join(dir, "machine/io.systemd.Machine"), map[string]reply{
		lookup: {parameters: `{"name":"vm","controlAddress":"` + socket + `"}`},
	})
	return &Client{sockets: dir}, machines, play(t, socket, replies)
}

func TestWhatRunsAMachineIsToldWhatToDo(t *testing.T) {
	t.Parallel()
	c, machines, control := hostWith(t, map[string]reply{instanceReboot: {err: "io.systemd.MachineInstance.NotConnected"}})
	for method, do := range map[string]func() error{
		instancePause:     func() error { return c.Pause(t.Context(), "vm") },
		instanceResume:    func() error { return c.ResumeStock(t.Context(), "vm") },
		instancePowerOff:  func() error { return c.PowerOff(t.Context(), "vm") },
		instanceTerminate: func() error { return c.Terminate(t.Context(), "vm") },
	} {
		if err := do(); err != nil {
			t.Errorf("%s: %v", method, err)
		}
		if diff := cmp.Diff([]string{method + " "}, control.got()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if diff := cmp.Diff([]string{lookup + ` {"name":"vm"}`}, machines.got()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
	if err := c.Reboot(t.Context(), "vm"); !errors.Is(err, machine1.ErrDisconnected) {
		t.Errorf("a machine that does not answer: %v", err)
	}
}

// A service that says nothing, and one that hangs up, are for their callers what
// they are on the bus.
func TestAServiceThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	c, _, _ := hostWith(t, map[string]reply{instancePowerOff: {silent: true}, instanceReboot: {hangUp: true}})
	deaf := &Client{sockets: t.TempDir()}
	play(t, filepath.Join(deaf.sockets, "machine/io.systemd.Machine"), map[string]reply{lookup: {silent: true}})
	gone := &Client{sockets: t.TempDir()}
	play(t, filepath.Join(gone.sockets, "machine/io.systemd.Machine"), map[string]reply{lookup: {hangUp: true}})

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	for what, err := range map[string]error{"what runs it": c.PowerOff(ctx, "vm"), "the manager": deaf.Terminate(ctx, "vm")} {
		if !errors.Is(err, machine1.ErrTimeout) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s does not answer: %v", what, err)
		}
	}
	for what, err := range map[string]error{"what runs it": c.Reboot(t.Context(), "vm"), "the manager": gone.Pause(t.Context(), "vm")} {
		if !errors.Is(err, machine1.ErrNoReply) {
			t.Errorf("%s hangs up: %v", what, err)
		}
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if err := c.PowerOff(ctx, "vm"); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that leaves: %v", err)
	}
}

func TestAMachineWithoutAControlSocketIsToldSo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := &Client{sockets: dir}
	if done, err := c.instance(t.Context(), "m", instancePause); done || err != nil {
		t.Errorf("without a daemon: %v, %v", done, err)
	}
	play(t, filepath.Join(dir, "machine/io.systemd.Machine"), map[string]reply{lookup: {parameters: `{"name":"m"}`}})
	if err := c.PauseStock(t.Context(), "m"); !errors.Is(err, ErrNoControlSocket) || !errors.Is(err, machine1.ErrNotSupported) {
		t.Error(err)
	}
	if err := c.DetachVolume(t.Context(), "m", "p:v"); !errors.Is(err, ErrNoControlSocket) {
		t.Error(err)
	}
	play2 := t.TempDir()
	play(t, filepath.Join(play2, "machine/io.systemd.Machine"), map[string]reply{lookup: {err: "io.systemd.Machine.NoSuchMachine"}})
	c = &Client{sockets: play2}
	if err := c.PauseStock(t.Context(), "m"); !errors.Is(err, machine1.ErrNoSuchMachine) {
		t.Error(err)
	}
}

func TestAVolumeGoesFromItsProviderToTheMachine(t *testing.T) {
	t.Parallel()
	c, _, control := hostWith(t, nil)
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, []byte("of the volume"), 0o600); err != nil {
		t.Fatal(err)
	}
	const acquire = "io.systemd.StorageProvider.Acquire"
	provider := play(t, filepath.Join(c.sockets, "io.systemd.StorageProvider/p"), map[string]reply{
		acquire: {parameters: `{"fileDescriptorIndex":0,"type":"reg","readOnly":false}`, file: disk},
	})
	v, err := ParseVolume("p:v:nvme:create=new,template=t,ro=yes,size=1M,request-as=reg")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.AttachVolume(t.Context(), "vm", v); err != nil {
		t.Fatal(err)
	}
	want := []string{acquire + ` {"allowInteractiveAuthentication":false,"createMode":"new","createSizeBytes":1048576,"name":"v","readOnly":true,"requestAs":"reg","template":"t"}`}
	if diff := cmp.Diff(want, provider.got()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	want = []string{instanceAddStorage + ` {"config":"nvme","fileDescriptorIndex":0,"name":"p:v"} [of the volume]`}
	if diff := cmp.Diff(want, control.got()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if err := c.DetachVolume(t.Context(), "vm", v.Spec()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{instanceRemoveStorage + ` {"name":"p:v"}`}, control.got()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if err := c.AttachVolume(t.Context(), "vm", Volume{Provider: "none", Name: "v"}); !errors.Is(err, machine1.ErrFileNotFound) {
		t.Errorf("a provider that is not there: %v", err)
	}

	// It may promise a volume and send none.
	play(t, filepath.Join(c.sockets, "io.systemd.StorageProvider/empty"), map[string]reply{acquire: {parameters: `{"fileDescriptorIndex":0}`}})
	play(t, filepath.Join(c.sockets, "io.systemd.StorageProvider/wrong"), map[string]reply{acquire: {parameters: `{"fileDescriptorIndex":-1}`, file: disk}})
	for _, liar := range []string{"empty", "wrong"} {
		if err := c.AttachVolume(t.Context(), "vm", Volume{Provider: liar, Name: "v"}); err == nil {
			t.Errorf("%s: there is a volume", liar)
		}
	}
	if got := control.got(); got != nil {
		t.Errorf("the machine was given %q", got)
	}
}

func TestParseVolume(t *testing.T) {
	t.Parallel()
	yes := true
	for text, want := range map[string]Volume{
		"p:v":                              {Provider: "p", Name: "v"},
		"p:v:":                             {Provider: "p", Name: "v"},
		"p:v:scsi-cd":                      {Provider: "p", Name: "v", Device: "scsi-cd"},
		"p:v::create-size=2K":              {Provider: "p", Name: "v", Size: 2048},
		"p:v::read-only=auto,create=any":   {Provider: "p", Name: "v", Create: "any"},
		"p:v::read-only=true,template=a":   {Provider: "p", Name: "v", ReadOnly: &yes, Template: "a"},
		"p:v:nvme:size=512,request-as=blk": {Provider: "p", Name: "v", Device: "nvme", Size: 512, RequestAs: "blk"},
	} {
		got, err := ParseVolume(text)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%q: %v\n%s", text, err, diff)
		}
	}
	for _, text := range []string{"", ":", "p", "p:", ":v", "../p:v", "..:v", "p/q:v", "p:v::x=1", "p:v::create", "p:v::create=maybe",
		"p:v::ro=perhaps", "p:v::size=-1", "p:v::size=0", "p:v::size=99999999T", "p:v::request-as=tape"} {
		if got, err := ParseVolume(text); !errors.Is(err, machine1.ErrInvalidArgs) {
			t.Errorf("%q is %+v, %v", text, got, err)
		}
	}
}
