package varlinkapi

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/daemon/internal/auth"
	"github.com/machd/machd/daemon/internal/proc"
	"github.com/machd/machd/pkg/machine1"
)

func TestLookUp(t *testing.T) {
	t.Parallel()
	f := start(t)
	leader := f.register(t, "m", nil)
	p, err := proc.Open(leader)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	const found = "found"
	for name, tt := range map[string]struct {
		in   input
		want string
	}{
		"by name":                     {input{"name": "m"}, found},
		"by process":                  {input{"pid": input{"pid": leader}}, found},
		"by process as a string":      {input{"pid": input{"pid": fmt.Sprint(leader)}}, found},
		"by process with its ID":      {input{"pid": input{"pid": leader, "pidfdId": p.ID()}}, found},
		"by both":                     {input{"name": "m", "pid": input{"pid": leader}}, found},
		"an unknown name":             {input{"name": "nope"}, noSuchMachine},
		"a process of the host":       {input{"pid": input{"pid": 1}}, noSuchMachine},
		"the caller, in no machine":   {input{"pid": input{"pid": 0}}, noSuchMachine},
		"both, but of two machines":   {input{"name": ".host", "pid": input{"pid": leader}}, noSuchMachine},
		"both, but the name is not":   {input{"name": "nope", "pid": input{"pid": leader}}, noSuchMachine},
		"the ID of another process":   {input{"pid": input{"pid": leader, "pidfdId": 7}}, noSuchMachine},
		"a process of another boot":   {input{"pid": input{"pid": leader, "bootId": strings.Repeat("1", 32)}}, noSuchMachine},
		"a process that cannot be":    {input{"pid": input{"pid": 99999999}}, noSuchMachine},
		"an impossible process":       {input{"pid": input{"pid": -1}}, invalid("pid")},
		"a process beyond all":        {input{"pid": input{"pid": 1 << 31}}, invalid("pid")},
		"the caller with an ID":       {input{"pid": input{"pid": 0, "pidfdId": 7}}, invalid("pid")},
		"a plain number":              {input{"pid": leader}, invalid("pid")},
		"a null process":              {input{"pid": null}, expectedMore},
		"a boolean for a process":     {input{"pid": input{"pid": true}}, invalid("pid")},
		"a fraction":                  {input{"pid": input{"pid": 1.5}}, invalid("pid")},
		"something else in a process": {input{"pid": input{"pid": leader, "x": 1}}, invalid("pid")},
		"an impossible name":          {input{"name": "bad_name"}, invalid("name")},
		"no name":                     {input{"name": ""}, invalid("name")},
		"a null name":                 {input{"name": null}, invalid("name")},
		"an unknown field":            {input{"name": "m", "bogus": 1}, invalid("bogus")},
	} {
		t.Run(name, func(t *testing.T) {
			got := f.one(t, "List", tt.in)
			if tt.want == found && strings.HasPrefix(got, `{"parameters":{"name":"m",`) {
				return
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	f.want(t, "Unregister", input{}, noSuchMachine)
	f.want(t, "Kill", input{"signal": 9}, noSuchMachine)
}

func TestTheCallersOwnMachine(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.want(t, "Register", input{"name": "m", "class": "container"}, done)
	if got := f.one(t, "List", input{"pid": input{"pid": 0}}); !strings.Contains(got, `"name":"m"`) {
		t.Errorf("got %s", got)
	}
}

func TestManaging(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.uid.Store(61234)
	f.polkit.say(func(auth.Request) (auth.Verdict, error) { return auth.Verdict{Admin: true}, nil })
	f.register(t, "m", nil)
	f.polkit.take()
	f.machines.take()

	f.want(t, "Kill", input{"name": "m", "signal": "SIGRTMIN+3"}, done)
	f.want(t, "Kill", input{"name": "m", "signal": "9", "whom": "leader", "allowInteractiveAuthentication": true}, done)
	f.want(t, "Terminate", input{"name": "m"}, done)
	f.want(t, "Unregister", input{"name": "m"}, done)
	f.want(t, "Unregister", input{"name": "m"}, noSuchMachine)
	f.want(t, "Unregister", input{"name": ".host"}, done)
	f.want(t, "Terminate", input{"name": ".host"}, notSupported)
	for _, signal := range []any{0, "0", 65, -1, "FOO", nil, null, 1.5} {
		f.want(t, "Kill", input{"name": "m", "whom": "all"}.merge(input{"signal": signal}), invalid("signal"))
	}
	for _, whom := range []any{"foo", "", null, 1} {
		f.want(t, "Kill", input{"name": "m", "signal": 9, "whom": whom}, invalid("whom"))
	}
	calls := []string{`kill m "" 37`, `kill m "leader" 9`, "terminate m", "terminate .host"}
	if diff := cmp.Diff(calls, f.machines.take()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	owner, root := f.uid.Load(), uint32(0)
	ask := func(name, verb string, owner *uint32, interactive bool) auth.Request {
		return auth.Request{
			Action:      "org.freedesktop.machine1.manage-machines",
			Details:     map[string]string{"name": name, "verb": verb},
			Owner:       owner,
			Interactive: interactive,
		}
	}
	questions := []auth.Request{
		ask("m", "kill", &owner, false), ask("m", "kill", &owner, true), ask("m", "terminate", &owner, false),
		ask("m", "unregister", &owner, false), ask(".host", "unregister", &root, false), ask(".host", "terminate", &root, false),
	}
	if diff := cmp.Diff(questions, f.polkit.take()); diff != "" {
		t.Errorf("questions (-want +got):\n%s", diff)
	}
}

func TestAMachineThatChangesWhilePolkitIsAsked(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.register(t, "m", nil)
	f.polkit.say(func(auth.Request) (auth.Verdict, error) {
		return auth.Verdict{}, f.machines.Manager.Unregister(t.Context(), "m")
	})
	f.want(t, "Terminate", input{"name": "m"}, noSuchMachine)

	f.polkit.say(nil)
	f.register(t, "m", nil)
	f.polkit.say(func(r auth.Request) (auth.Verdict, error) {
		if r.Action == machine1.ActionManageMachines {
			if err := f.machines.Manager.Unregister(t.Context(), "m"); err != nil {
				t.Error(err)
			}
			f.register(t, "m", nil)
		}
		return auth.Verdict{}, nil
	})
	f.machines.take()
	f.want(t, "Terminate", input{"name": "m"}, noSuchMachine)
	if slices.Contains(f.machines.take(), "terminate m") {
		t.Error("another machine was terminated than was asked about")
	}
}

func TestListOne(t *testing.T) {
	t.Parallel()
	f := start(t)
	leader := f.register(t, "m", input{"class": "vm", "id": "0123456789abcdef0123456789abcdef", "service": "svc", "rootDirectory": "/r",
		"vSockCid": 7, "sshAddress": "vsock/7", "sshPrivateKeyPath": "/k", "controlAddress": "/c", "ifIndices": []int{1}})
	m, ok := f.machines.View().Get("m")
	if !ok {
		t.Fatal("not registered")
	}
	boot, err := proc.BootID()
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`{"parameters":{"name":"m","id":"0123456789abcdef0123456789abcdef","class":"vm","service":"svc","rootDirectory":"/r",`+
		`"unit":"machine-m.scope","leader":{"pid":%d,"pidfdId":%d,"bootId":%q},"supervisor":{"pid":%d,"pidfdId":%d,"bootId":%q},`+
		`"timestamp":{"realtime":%d,"monotonic":%d},"vSockCid":7,"sshAddress":"vsock/7","sshPrivateKeyPath":"/k","controlAddress":"/c","UID":0}}`,
		leader, m.Leader.ID(), boot, os.Getpid(), m.Supervisor.ID(), boot, m.Realtime, m.Monotonic)
	f.want(t, "List", input{"name": "m"}, want)
	f.want(t, "List", input{"name": "m", "acquireMetadata": "no"}, want)
	f.want(t, "List", input{"name": "m", "acquireMetadata": "graceful"}, want)
	f.want(t, "List", input{"name": "m", "acquireMetadata": "yes"}, `{"error":"io.systemd.Machine.NotAvailable","parameters":{}}`)
	for _, how := range []any{"maybe", true, 1, null} {
		f.want(t, "List", input{"name": "m", "acquireMetadata": how}, invalid("acquireMetadata"))
	}
}

func TestListAll(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.want(t, "List", input{}, expectedMore)
	f.register(t, "b", nil)
	f.register(t, "a", nil)
	f.polkit.take()

	var got []string
	for _, answer := range f.call(t, "io.systemd.Machine.List", input{}, true) {
		var record struct {
			Parameters struct{ Name string }
			Continues  bool
		}
		if err := json.Unmarshal([]byte(answer), &record); err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(record.Parameters.Name, " ", record.Continues))
	}
	if diff := cmp.Diff([]string{".host true", "a true", "b false"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if questions := f.polkit.take(); questions != nil {
		t.Errorf("questions: %v", questions)
	}
}

// The children of a test are in the host's network, so a container that one of
// them leads has no addresses of its own.
func TestMetadata(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.register(t, "m", nil)
	f.polkit.take()

	f.want(t, "List", input{"name": "m", "acquireMetadata": "yes"}, `{"error":"io.systemd.Machine.NoPrivateNetworking","parameters":{}}`)
	if got := f.one(t, "List", input{"name": "m", "acquireMetadata": "graceful"}); !strings.Contains(got, `"UIDShift":0`) || strings.Contains(got, "addresses") {
		t.Errorf("got %s", got)
	}
	answers := f.call(t, "io.systemd.Machine.List", input{"acquireMetadata": "yes"}, true)
	if len(answers) != 2 || !strings.HasSuffix(answers[0], `"continues":true}`) ||
		answers[1] != `{"error":"io.systemd.Machine.NoPrivateNetworking","parameters":{}}` {
		t.Errorf("got %q", answers)
	}
	var host struct {
		Parameters struct {
			UIDShift  *int
			OSRelease []string
		}
	}
	if err := json.Unmarshal([]byte(answers[0]), &host); err != nil {
		t.Fatal(err)
	}
	if host.Parameters.UIDShift == nil || len(host.Parameters.OSRelease) == 0 {
		t.Errorf("host: %s", answers[0])
	}

	ask := func(name string) auth.Request {
		return auth.Request{Action: "org.freedesktop.machine1.inspect-machines", Details: map[string]string{"name": name}}
	}
	if diff := cmp.Diff([]auth.Request{ask("m"), ask("m"), ask("n/a")}, f.polkit.take()); diff != "" {
		t.Errorf("questions (-want +got):\n%s", diff)
	}
	f.polkit.refuse(machine1.ErrAccessDenied)
	f.want(t, "List", input{"name": "nope", "acquireMetadata": "yes"}, denied)
	f.want(t, "List", input{"acquireMetadata": "yes"}, denied)
}

func TestService(t *testing.T) {
	t.Parallel()
	f := start(t)
	service := func(method string, in any) string {
		return strings.Join(f.call(t, "io.systemd.service."+method, in, false), "\n")
	}
	check := func(method string, in any, want string) {
		t.Helper()
		if got := service(method, in); got != want {
			t.Errorf("%s: got %s, want %s", method, got, want)
		}
	}
	check("Ping", nil, done)
	check("Ping", input{"x": 1}, invalid("x"))
	check("Reload", nil, `{"error":"org.varlink.service.MethodNotFound","parameters":{"method":"io.systemd.service.Reload"}}`)
	for level := range 8 {
		check("SetLogLevel", input{"level": level}, done)
		check("GetLogLevel", nil, fmt.Sprintf(`{"parameters":{"level":%d}}`, level))
	}
	check("SetLogLevel", input{"level": 8}, invalid("level"))
	check("SetLogLevel", input{"level": -1}, invalid("level"))
	if got := service("GetEnvironment", nil); !strings.HasPrefix(got, `{"parameters":{"environment":["`) {
		t.Errorf("got %s", got)
	}
	f.uid.Store(61234)
	check("SetLogLevel", input{"level": 7}, denied)
	check("GetEnvironment", nil, denied)
	check("GetLogLevel", nil, `{"parameters":{"level":7}}`)
}
