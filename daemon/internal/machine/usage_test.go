package machine

import (
	"testing"
	"time"
)

func TestUnitCgroup(t *testing.T) {
	t.Parallel()
	const user = "/user.slice/user-1000.slice/user@1000.service"
	for _, tt := range []struct{ leader, unit, subgroup, want string }{
		{"/machine.slice/c.service/payload/init.scope", "c.service", "", "/machine.slice/c.service"},
		{"/machine.slice/c.service", "c.service", "", "/machine.slice/c.service"},
		{"/machine.slice/_c.service/payload", "c.service", "", "/machine.slice/_c.service"},
		{user + "/machine.slice/c.scope/x", "user@1000.service", "machine.slice/c.scope", user + "/machine.slice/c.scope"},
		{user + "/machine.slice/c.scope", "c.scope", "", user + "/machine.slice/c.scope"},
		{"/a.service/payload/deep", "a.service", "/payload/", "/a.service/payload"},
		{"/a.service/payload2", "a.service", "payload", ""},
		{"/a.service/supervisor", "a.service", "payload", ""},
		{"/b.service", "a.service", "", ""},
		{"/a.service", "", "", ""},
	} {
		got, err := unitCgroup(tt.leader, tt.unit, tt.subgroup)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s in %s, %q: %q, %v", tt.leader, tt.unit, tt.subgroup, got, err)
		}
	}
}

func TestUsageIsOfAllInTheUnitAndOfNobodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	unit := newUnit(t, "supervisor", "payload")
	leader := start(t, unit+"/supervisor")
	start(t, unit+"/payload")
	w.register("web", leader)
	ghost := start(t, newUnit(t))
	w.register("ghost", ghost)
	start(t, newUnit(t))

	list, err := w.Usage(t.Context())
	if err != nil || len(list) != 2 || list[0].Machine.Name != "ghost" || list[1].Machine.Name != "web" {
		t.Fatalf("%+v, %v", list, err)
	}
	if u := list[1]; u.Tasks == nil || *u.Tasks != 2 || u.CPU == nil {
		t.Errorf("%+v", u)
	}

	ghost.kill()
	w.wantEvent("-ghost")
	if list, err = w.Usage(t.Context()); err != nil || len(list) != 1 || list[0].Machine.Name != "web" {
		t.Errorf("after the end of one: %+v, %v", list, err)
	}
}

// Whoever asks all the time has the kernel asked no more often for it.
func TestUsageIsSharedForAMoment(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.usages.age = time.Minute
	w.register("web", start(t, newUnit(t)))
	first, err := w.Usage(t.Context())
	if err != nil || len(first) != 1 {
		t.Fatalf("%+v, %v", first, err)
	}
	again, err := w.Usage(t.Context())
	if err != nil || len(again) != 1 || again[0].Tasks == nil || first[0].Tasks != again[0].Tasks {
		t.Errorf("read anew: %+v, %v", again, err)
	}
	// A machine that has come meanwhile is told at once.
	w.register("app", start(t, newUnit(t)))
	again, err = w.Usage(t.Context())
	if err != nil || len(again) != 2 || again[0].Machine.Name != "app" || again[0].Tasks == nil || first[0].Tasks != again[1].Tasks {
		t.Errorf("with a newcomer: %+v, %v", again, err)
	}
	w.usages.age = 0
	again, err = w.Usage(t.Context())
	if err != nil || len(again) != 2 || first[0].Tasks == again[1].Tasks {
		t.Errorf("not read anew: %+v, %v", again, err)
	}
}
