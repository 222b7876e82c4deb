package booted

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The users and groups of a container have names on the host, which every
// program finds: here the C library, and userdbctl.
func TestVarlinkNamesUsersOfMachines(t *testing.T) {
	t.Parallel()
	const name = "vl-users"
	startGuest(t, name)
	w := watch(t)
	var shift uint32
	must(t, w.call(t, "GetMachineUIDShift", []any{name}, &shift))
	for _, inner := range []uint32{0, 33, 65534} {
		user, group, outer := fmt.Sprintf("vu-%s-%d", name, inner), fmt.Sprintf("vg-%s-%d", name, inner), fmt.Sprint(shift+inner)
		want := fmt.Sprintf("%s:x:%s:65534:UID %d of Container %s:/:/usr/sbin/nologin", user, outer, inner, name)
		for _, key := range []string{user, outer} {
			if got := run(t, "getent", "passwd", key); got != want {
				t.Errorf("getent passwd %s: %s, want %s", key, got, want)
			}
		}
		for _, key := range []string{group, outer} {
			if got := run(t, "getent", "group", key); got != fmt.Sprintf("%s:x:%s:", group, outer) {
				t.Errorf("getent group %s: %s", key, got)
			}
		}
		if got := run(t, "userdbctl", "user", "--output=table", "--no-legend", "--no-pager", user); !strings.Contains(got, outer) ||
			!strings.Contains(got, "container") {
			t.Errorf("userdbctl user %s: %s", user, got)
		}
	}
	for _, nobody := range []string{"vu-" + name + "-65536", "vu-" + name + "-x", "vu-nobody-0", "vu-.host-0", "vg-" + name + "-0"} {
		if o := observe(t, "getent", "passwd", nobody); o.Code != 2 {
			t.Errorf("getent passwd %s: %+v", nobody, o)
		}
	}
	leader := fmt.Sprintf("/proc/%v", w.properties(t, name)["Leader"])
	if got := run(t, "stat", "-c", "%U %G", leader); got != fmt.Sprintf("vu-%s-0 vg-%s-0", name, name) {
		t.Errorf("the guest's leader belongs to %s", got)
	}
}

// systemd-resolved is told of every name as it comes and goes, and asks for it.
func TestNewVarlinkResolvesNames(t *testing.T) {
	const name = "vl-resolved"
	w := watch(t)
	p := startProcess(t, name, "--property=PrivateNetwork=yes", "--service-type=exec")
	for _, a := range []string{"192.0.2.11/24", "2001:db8::11/64"} {
		run(t, "nsenter", "--net", "--target", strconv.Itoa(p.pid), "ip", "address", "add", a, "dev", "lo", "nodad")
	}
	filter := dialVarlinkAt(t, "alice", hookSocket)
	filter.send(t, withMore(varlinkMessage("io.systemd.Resolve.Hook.QueryFilter", "")))
	awaitDomain := func(want bool) {
		t.Helper()
		for {
			r, err := filter.next()
			must(t, err)
			if !r.Continues || r.Error != "" {
				t.Fatalf("the stream ends with %+v", r)
			}
			if slices.Contains(r.Parameters["filterDomains"].([]any), any(name)) == want {
				return
			}
		}
	}
	awaitDomain(false)
	register(t, w, name, p)
	awaitDomain(true)

	resolve := func(kind int, domain string) map[string]any {
		t.Helper()
		answer, err := varlinkCallAt(t, "alice", hookSocket, "io.systemd.Resolve.Hook.ResolveRecord",
			fmt.Sprintf(`{"question":[{"key":{"class":1,"type":%d,"name":%q}}]}`, kind, domain))
		must(t, err)
		return answer
	}
	for kind, want := range map[int]string{1: "\x00\x04\xc0\x00\x02\x0b", 28: "\x00\x10\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x11"} {
		answer := resolve(kind, name)
		rows, _ := answer["answer"].([]any)
		if answer["rcode"] != 0.0 || len(rows) == 0 {
			t.Errorf("type %d: %v", kind, answer)
			continue
		}
		var raw []string
		for _, row := range rows {
			text, err := base64.StdEncoding.DecodeString(row.(map[string]any)["raw"].(string))
			must(t, err)
			raw = append(raw, string(text))
		}
		if !slices.ContainsFunc(raw, func(r string) bool {
			return strings.HasPrefix(r, "\x0b"+name+"\x00\x00"+string(rune(kind))+"\x00\x01") && strings.HasSuffix(r, want)
		}) {
			t.Errorf("type %d: the records are %q", kind, raw)
		}
	}
	if answer := resolve(1, "www."+name); answer["rcode"] != 3.0 {
		t.Errorf("a name below it: %v", answer)
	}
	if answer := resolve(1, "example.com"); len(answer) != 0 {
		t.Errorf("somebody else's name: %v", answer)
	}
	unregister(t, name)
	awaitDomain(false)
	if answer := resolve(1, name); len(answer) != 0 {
		t.Errorf("a name that is gone: %v", answer)
	}
}
