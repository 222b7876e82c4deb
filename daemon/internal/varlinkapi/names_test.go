package varlinkapi

import (
	"strings"
	"testing"
)

// ask is a call with one answer at the socket path.
func ask(t *testing.T, path, method string, in any) string {
	t.Helper()
	answers := begin(t, path, method, in, false).all()
	if len(answers) != 1 {
		t.Fatalf("got %d answers: %q", len(answers), answers)
	}
	return answers[0]
}

// TestAccountsThatThereAreNot has no machine with users of its own: those need
// a user namespace, as the machines of booted hosts have.
func TestAccountsThatThereAreNot(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.register(t, "m", nil)
	failed := func(name string) string {
		return `{"error":"io.systemd.UserDatabase.` + name + `","parameters":{}}`
	}
	const us, user, group = "io.systemd.Machine", "GetUserRecord", "GetGroupRecord"
	for _, tt := range []struct {
		method string
		in     input
		want   string
	}{
		{user, input{"service": "io.systemd.Other", "uid": 0}, failed("BadService")},
		{user, input{"service": us}, failed("EnumerationNotSupported")},
		{group, input{"service": us}, failed("EnumerationNotSupported")},
		{user, input{"service": us, "uid": 1000}, failed("NoRecordFound")},
		{group, input{"service": us, "gid": 1 << 20}, failed("NoRecordFound")},
		{user, input{"service": us, "userName": "vu-nope-0"}, failed("NoRecordFound")},
		{user, input{"service": us, "userName": "root"}, failed("NoRecordFound")},
		{group, input{"service": us, "groupName": "vu-m-0"}, failed("NoRecordFound")},
		{user, input{"service": us, "uid": 70000, "uidMin": 1}, invalid("uidMin")},
		{group, input{"service": us, "gid": 70000, "gidMax": 1}, invalid("gidMax")},
		{user, input{"uid": 0}, invalid("service")},
		{"GetMemberships", input{"service": us}, failed("NoRecordFound")},
	} {
		if got := ask(t, f.users, "io.systemd.UserDatabase."+tt.method, tt.in); got != tt.want {
			t.Errorf("%s %v:\n got %s\nwant %s", tt.method, tt.in, got, tt.want)
		}
	}
	if got := ask(t, f.path, "io.systemd.UserDatabase.GetUserRecord", input{"service": us}); !strings.Contains(got, "InterfaceNotFound") && !strings.Contains(got, "MethodNotFound") {
		t.Errorf("on the socket of machines: %s", got)
	}
}

func TestNamesOfMachinesAreResolved(t *testing.T) {
	t.Parallel()
	f := start(t)
	const filter, resolve = "io.systemd.Resolve.Hook.QueryFilter", "io.systemd.Resolve.Hook.ResolveRecord"
	question := func(kind int, name string) input {
		return input{"question": []any{input{"key": input{"type": kind, "name": name}}}}
	}
	if got, want := ask(t, f.hook, filter, input{}), `{"parameters":{"filterDomains":[]}}`; got != want {
		t.Errorf("without machines: %s", got)
	}
	domains := begin(t, f.hook, filter, input{}, true)
	wantDomains := func(want string) {
		t.Helper()
		if got := domains.next(); !strings.Contains(got, `"filterDomains":`+want) || !strings.Contains(got, `"continues":true`) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	wantDomains(`[]`)
	f.register(t, "m", nil)
	wantDomains(`["m"]`)
	if got := ask(t, f.hook, resolve, question(16, "m")); got != `{"parameters":{"rcode":0,"answer":[]}}` {
		t.Errorf("text of a machine: %s", got)
	}
	if got := ask(t, f.hook, resolve, question(1, "a.m")); got != `{"parameters":{"rcode":3}}` {
		t.Errorf("below a machine: %s", got)
	}
	if got := ask(t, f.hook, resolve, question(1, "m")); !strings.Contains(got, `"errnoName":"ENONET"`) {
		t.Errorf("on the host's network: %s", got)
	}
	f.want(t, "Unregister", input{"name": "m"}, done)
	wantDomains(`[]`)
	if got := ask(t, f.hook, resolve, question(1, "other")); got != done {
		t.Errorf("of nobody: %s", got)
	}
	f.register(t, "dev", nil)
	wantDomains(`[]`) // everybody's names are below it
	for _, name := range []string{"dev", "go.dev"} {
		if got := ask(t, f.hook, resolve, question(1, name)); got != done {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := ask(t, f.hook, resolve, input{"question": []any{}}); got != invalid("question") {
		t.Errorf("no question: %s", got)
	}
}
