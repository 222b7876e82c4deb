package network

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/machd/machd/pkg/machd"
)

// An administrator who has us manage no networks has networkd go on with them, but
// for those of machines that were told addresses.
func TestWithManageNoNetworkdGoesOn(t *testing.T) {
	l := newLab(t)
	l.write(l.paths.Stock+"/80-container-ve.network", "[Match]\nKind=veth\nName=ve-*\n")
	l.write(l.paths.Stock+"/80-container-vz.network", "[Match]\nKind=bridge\nName=vz-*\n")
	files := func(want string) {
		t.Helper()
		var got []string
		for _, path := range glob(l.paths.Ours) {
			text, err := os.ReadFile(path)
			l.must(err)
			_, names, _ := strings.Cut(string(text), "\nName=")
			names, _, _ = strings.Cut(names, "\n")
			got = append(got, filepath.Base(path)+" "+names)
		}
		if got := strings.Join(got, ", "); got != want {
			t.Errorf("the files are %q, want %q", got, want)
		}
	}
	l.restart()
	files("80-container-ve-machd.network ve-*, 80-container-vz-machd.network vz-*")
	l.write(l.paths.Config, "[Network]\nManage=no\n")
	l.restart()
	files("")

	plain := l.start("plain")
	if s := l.status(plain); s.Managed {
		t.Errorf("its network is %+v", s)
	}
	files("")
	plan, err := l.Plan(Request{Machine: "told", Unit: "machine-told.service", Kind: machd.LinkVeth, Options: machd.NetworkOptions{Addresses: []string{"10.50.0.2/24"}}})
	l.must(err)
	l.must(l.Reserve(plan))
	files("80-container-ve-machd.network ve-told") // before its link comes
	told := l.start("told")
	if s := l.status(told); !s.Managed {
		t.Errorf("its network is %+v", s)
	}
	l.write(l.paths.Settings[0]+"/set.nspawn", "[X-Machd]\nAddress=10.51.0.2/24\n")
	set := l.start("set")
	if s := l.status(set); !s.Managed {
		t.Errorf("its network is %+v", s)
	}
	files("80-container-ve-machd.network ve-set ve-told")
	l.end(set)
	l.end(told)
	files("80-container-ve-machd.network ve-set") // which may come at any time
	l.must(os.Remove(l.paths.Settings[0] + "/set.nspawn"))
	l.restart()
	files("")

	l.write(l.paths.Settings[0]+"/zoned.nspawn", "[Network]\nZone=shop\n[X-Machd]\nAddress=10.51.0.2/24\n")
	plan, err = l.Plan(Request{Machine: "x", Kind: machd.LinkVeth})
	l.must(err)
	if plan.network != nil {
		t.Errorf("a start that asks for nothing gets %+v", plan.network)
	}
	l.write(l.paths.Settings[0]+"/no such.nspawn", "[X-Machd]\nAddress=10.51.0.2/24\n")
	l.restart()
	files("80-container-vz-machd.network vz-shop")
	l.end(plain)
}
