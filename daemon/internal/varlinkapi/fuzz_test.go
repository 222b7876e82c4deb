package varlinkapi

import (
	"bufio"
	"context"
	"encoding/json"
	"log/slog"
	"math"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machine1"
)

// served are the interfaces that take input from strangers.
var served = []*varlink.Interface[*API]{
	&machineInterface, &imageInterface, &serviceInterface, &ownMachineInterface, &ownImageInterface, &userInterface, &hookInterface,
}

// readers are what handlers make of their input before they ask anybody.
var readers = map[string]func(*testing.T, varlink.Object){
	"Register": func(t *testing.T, in varlink.Object) {
		r := registration(in)
		if !machine1.ValidMachineName(r.Name) || !r.Class.Registrable() || r.VSockCID < 3 && r.VSockCID != math.MaxUint32 ||
			slices.ContainsFunc(r.NetworkInterfaces, func(i int32) bool { return i <= 0 }) {
			t.Errorf("it would register %+v", r)
		}
		(&API{}).leader(in)
	},
	"Open": func(t *testing.T, in varlink.Object) {
		if s, err := shellOf(in); err == nil && strings.Contains(s.User+s.Path+strings.Join(s.Args, "")+strings.Join(s.Environment, ""), "\x00") {
			t.Errorf("it would run %+v", s)
		}
	},
	"Kill": func(t *testing.T, in varlink.Object) {
		if signal := in.Int("signal"); signal < 1 || signal > maxSignal {
			t.Errorf("it would send signal %d", signal)
		}
	},
	"ResolveRecord": func(t *testing.T, in varlink.Object) {
		for _, q := range in.Array("question") {
			if key := keyOf(q.(varlink.Object).Object("key")); len(key.Name) > maxDomain {
				t.Errorf("it would look up %q", key.Name)
			}
		}
	},
}

// Whatever the parameters are, they are refused, or what a handler reads of
// them is what its row promises.
func FuzzInput(f *testing.F) {
	var current atomic.Pointer[testing.T] // calls come one after the other
	s := varlink.NewServer(varlink.Config{
		ErrorOf: func(err error) *varlink.Error {
			current.Load().Errorf("a handler fails: %v", err)
			return &varlink.Error{Name: "a.Failure"}
		},
		Log: slog.New(slog.DiscardHandler),
	})
	var methods []string
	for _, i := range served {
		same := &varlink.Interface[struct{}]{Name: i.Name}
		for _, m := range i.Methods {
			read := readers[m.Name]
			same.Methods = append(same.Methods, varlink.Method[struct{}]{Name: m.Name, In: m.In,
				Func: func(_ context.Context, _ struct{}, c *varlink.Call) (any, error) {
					touch(c.In, m.In)
					if read != nil {
						read(current.Load(), c.In)
					}
					return nil, nil
				}})
			methods = append(methods, i.Name+"."+m.Name)
		}
		varlink.Add(s, same, struct{}{})
	}
	path := filepath.Join(f.TempDir(), "socket")
	l, err := varlink.Listen(path, 0o600)
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); s.Serve(ctx, l) }()
	f.Cleanup(func() { cancel(); <-ended })

	for i := range methods {
		for _, seed := range []string{
			`{"name":"m","class":"vm","leader":7,"leaderProcessId":{"pid":7,"pidfdId":1},"id":"0123456789abcdef0123456789abcdef","ifIndices":[1],"vSockCid":"3"}`,
			`{"name":"m","pid":{"pid":"0"},"signal":"SIGRTMIN+3","whom":"all","mode":"shell","user":"u","path":"/p","args":["a"],"environment":["A=b"]}`,
			`{"name":"m","newName":"n","readOnly":true,"limit":18446744073709551615,"mode":"hidden","source":"/a","destination":"/b","ownership":"map"}`,
			`{"uid":65536,"gid":null,"userName":"vu-m-0","service":"io.systemd.Machine","level":null}`,
			`{"question":[{"key":{"class":1,"type":28,"name":"m."}}]}`, `{}`, `{"name":"m"}`,
		} {
			f.Add(uint8(i), []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, method uint8, parameters []byte) {
		if strings.Contains(string(parameters), "\x00") {
			return // that is two messages
		}
		current.Store(t)
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		name := methods[int(method)%len(methods)]
		if _, err := c.Write([]byte(`{"method":"` + name + `","parameters":` + string(parameters) + "}\x00")); err != nil {
			t.Fatal(err)
		}
		answer, err := bufio.NewReader(c).ReadBytes(0)
		if err != nil {
			return // it hung up
		}
		if !json.Valid(answer[:len(answer)-1]) {
			t.Errorf("%s answers %q", name, answer)
		}
	})
}

// touch reads every field as its type has it: the accessors panic if what was
// let through is of another.
func touch(in varlink.Object, fields varlink.Fields) {
	for _, f := range fields {
		switch f.Type {
		case varlink.Int, varlink.ExactInt:
			in.Int(f.Name)
		case varlink.Uint:
			in.Uint(f.Name)
		case varlink.String:
			in.String(f.Name)
		case varlink.Bool:
			in.Bool(f.Name)
		case processID:
			in.Object(f.Name).Int("pid")
			in.Object(f.Name).String("bootId")
		}
	}
}

// Two names of one user would be two users to whoever compares names.
func FuzzSplitAccount(f *testing.F) {
	for _, seed := range []string{"vu-m-0", "vu-a-b-33", "vu-m-00", "vu--0", "vu-m-", "vu-m-4294967295", "vu-.host-0", "vg-m-1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		m, inner, ok := splitAccount(name, "vu-")
		if ok && (accountName("vu-", m, inner) != name || !machine1.ValidMachineName(m) || !isStrictName(name)) {
			t.Errorf("%q is user %d of %q", name, inner, m)
		}
	})
}

// What DNS sends can be read back.
func FuzzDomain(f *testing.F) {
	for _, seed := range []string{"", ".", "a", "a.b.", "a..b", strings.Repeat("a", 64), strings.Repeat("a.", 127) + "a"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		b, ok := appendDomain(nil, name)
		if !ok {
			return
		}
		var labels []string
		for rest := b; rest[0] != 0; rest = rest[1+rest[0]:] {
			labels = append(labels, string(rest[1:1+rest[0]]))
		}
		if got := strings.Join(labels, "."); got != strings.TrimSuffix(name, ".") || len(b) > maxDomain {
			t.Errorf("%q is sent as %q, %d bytes", name, got, len(b))
		}
	})
}

func FuzzSignalByName(f *testing.F) {
	for _, seed := range []string{"SIGTERM", "KILL", "RTMIN+30", "SIGRTMAX-30", "RTMIN-1", "RTMAX+1", "RTMIN+", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if n, ok := signalByName(name); ok && (n < 1 || n > maxSignal) {
			t.Errorf("%q is %d", name, n)
		}
	})
}
