package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const (
	module   = "github.com/machd/machd/"
	internal = module + "daemon/internal/"
)

// forbidden says what the packages of a layer may not import, and so which way
// imports point: faces, domain, seams; mechanisms know no machine.
var forbidden = []struct {
	why   string
	of    []string
	never []string
}{
	{"a mechanism knows neither machines nor the system",
		[]string{"wire", "vtable", "varlink", "envfile", "wholefile", "task", "session", "responder", "logline", "progress"},
		[]string{"busapi", "varlinkapi", "registrant", "machine", "image", "network", "unit", "proc", "inside", "netns", "link", "nft", "auth"}},
	{"a seam is below the domain",
		[]string{"unit", "proc", "inside", "netns", "auth", "rootfs", "account", "dissect", "filetree", "btrfs", "imagelock", "nsexec", "usage", "link", "nft"},
		[]string{"busapi", "varlinkapi", "registrant", "machine", "image", "network", "vtable", "varlink", "wire"}},
	{"the domain is below the faces",
		[]string{"machine", "image", "overview", "execution"},
		[]string{"busapi", "varlinkapi", "registrant", "vtable", "varlink", "wire"}},
	{"a face stands beside the other one",
		[]string{"busapi"},
		[]string{"varlinkapi", "varlink", "wire"}},
	{"a face stands beside the other ones",
		[]string{"metrics"},
		[]string{"busapi", "varlinkapi", "vtable", "varlink", "wire", "access"}},
	{"a face stands beside the other one",
		[]string{"varlinkapi"},
		[]string{"busapi", "vtable", "wire"}},
}

func TestImportsPointOneWay(t *testing.T) {
	t.Parallel()
	imports := map[string][]string{}
	for line := range strings.Lines(goList(t, "-f", "{{.ImportPath}} {{join .Imports \" \"}}", module+"...")) {
		fields := strings.Fields(line)
		imports[fields[0]] = fields[1:]
	}
	for _, rule := range forbidden {
		for _, of := range rule.of {
			got, ok := imports[internal+of]
			if !ok {
				t.Errorf("there is no package %s", of)
			}
			for _, never := range rule.never {
				if slices.Contains(got, internal+never) {
					t.Errorf("%s imports %s, but %s", of, never, rule.why)
				}
			}
		}
	}
}

func TestDaemonHoldsNothingOfTheClient(t *testing.T) {
	t.Parallel()
	deps := strings.Fields(goList(t, "-deps", "."))
	for _, dep := range deps {
		if strings.HasPrefix(dep, module+"client") || dep == "github.com/spf13/cobra" {
			t.Errorf("the daemon depends on %s, which is the client's", dep)
		}
	}
	if !slices.Contains(deps, internal+"machine") {
		t.Error("the list of dependencies is not the daemon's")
	}
}

func goList(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatalf("cannot list packages: %v", err)
	}
	return string(out)
}
