package network

import (
	"os"
	"testing"
)

// Whatever machines are called, the files of one are not those of another, nor the
// record of what was switched on.
func TestNamesOfMachinesAreNotThoseOfOtherFiles(t *testing.T) {
	l := newLab(t)
	guests := map[string]guestHost{}
	for _, name := range []string{"switches", "a", "a.json", "a.d"} {
		g := l.boot(name, "ve-"+name, "")
		l.register(g)
		guests[name] = g
		l.must(writeNew(l.records.files(name)+"/resolv.conf", l.of(name).resolvConf()))
	}
	left := func(names ...string) {
		t.Helper()
		for _, name := range names {
			for _, path := range []string{l.records.path(name), l.records.files(name) + "/resolv.conf"} {
				if _, err := os.Stat(path); err != nil {
					t.Error(err)
				}
			}
		}
		if _, err := os.Stat(l.switches()); err != nil {
			t.Error(err)
		}
	}
	left("switches", "a", "a.json", "a.d")
	l.end(guests["switches"])
	left("a", "a.json", "a.d")
	l.end(guests["a"])
	left("a.json", "a.d")
	l.end(guests["a.d"])
	left("a.json")
	l.end(guests["a.json"])
	if entries, err := os.ReadDir(l.paths.Run); err != nil || len(entries) > 0 {
		t.Errorf("left are %v, %v", entries, err)
	}
}

// An earlier daemon had the files of a machine in a directory of its name.
func TestFilesOfAnEarlierDaemonGo(t *testing.T) {
	dir := t.TempDir()
	s := store(dir)
	put(t, dir+"/web/resolv.conf", "")
	put(t, dir+"/switches", "")
	put(t, s.files("web")+"/resolv.conf", "")
	for _, name := range []string{"web.d", "switches"} {
		if err := s.remove(name); err != nil {
			t.Error(err)
		}
	}
	for _, path := range []string{dir + "/web", dir + "/switches", s.files("web")} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	if err := s.remove("web"); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 || entries[0].Name() != "switches" {
		t.Errorf("left are %v, %v", entries, err)
	}
}
