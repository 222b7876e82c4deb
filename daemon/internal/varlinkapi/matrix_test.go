package varlinkapi

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/daemon/internal/auth"
	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machine1"
)

var update = flag.Bool("update", false, "write the golden files anew")

const (
	matrixFile = "testdata/matrix.txt"
	policyFile = "../../../dbus-policy/org.machd.policy"
)

// The matrix says who may call what. It is made by calling every method there
// is and watching what polkit is asked, so that no method can be forgotten.
// Details are as the call has them; those in capitals come from its arguments.
func TestAuthorizationMatrix(t *testing.T) {
	t.Parallel()
	f := start(t)
	f.register(t, "MACHINE", nil)
	if err := os.MkdirAll(filepath.Join(f.images, "IMAGE"), 0o755); err != nil {
		t.Fatal(err)
	}
	f.asked = map[string]map[string]bool{}
	f.uid.Store(4242)
	f.polkit.refuse(machine1.ErrAccessDenied)
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "METHOD\tACTION\tOWNER\tDETAILS")
	for _, s := range []struct {
		socket string
		table  *varlink.Interface[*API]
	}{
		{f.path, &machineInterface},
		{f.path, &imageInterface},
		{f.path, &serviceInterface},
		{f.path, &ownMachineInterface},
		{f.path, &ownImageInterface},
		{f.users, &userInterface},
	} {
		for _, m := range s.table.Methods {
			if m.Func != nil {
				f.askAbout(t, table, s.socket, s.table.Name+"."+m.Name, m)
			}
		}
	}
	table.Flush()
	for action, details := range f.asked {
		for word := range details {
			if !strings.Contains(documented(t, action), word) {
				t.Errorf("%s does not say that rules about %s find %q", policyFile, action, word)
			}
		}
	}
	got := trimLines(text.String())
	if *update {
		if err := os.MkdirAll(filepath.Dir(matrixFile), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(matrixFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(matrixFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is not what is asked any more (-file +now); after a look at it, run the test with -update:\n%s", matrixFile, diff)
	}
}

// askAbout calls a method and writes the line about it.
func (f *fixture) askAbout(t *testing.T, table *tabwriter.Writer, socket, name string, m varlink.Method[*API]) {
	t.Helper()
	f.polkit.take()
	s := begin(t, socket, name, argumentsOf(name, m), m.More == varlink.OnlyStream)
	answer := s.next()
	asked := f.polkit.take()
	if len(asked) == 0 {
		if m.Access != "" || strings.Contains(answer, "InvalidParameter") {
			t.Errorf("%s: polkit is not asked about %q: %s", name, m.Access, answer)
		}
		action := "-"
		if strings.Contains(answer, varlink.ErrPermissionDenied.Name) {
			action = "root only"
		}
		fmt.Fprintf(table, "%s\t%s\t-\t\n", name, action)
		return
	}
	if len(asked) > 1 || asked[0].Action != m.Access {
		t.Errorf("%s: polkit is asked %v, and the row says %q", name, asked, m.Access)
	}
	f.note(asked[0])
	owner := "no"
	if asked[0].Owner != nil {
		owner = "yes"
	}
	fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", name, asked[0].Action, owner, detailsOf(asked[0]))
}

// note keeps which details a question about an action of ours had.
func (f *fixture) note(r auth.Request) {
	if !strings.HasPrefix(r.Action, "org.machd.") {
		return
	}
	if f.asked[r.Action] == nil {
		f.asked[r.Action] = map[string]bool{}
	}
	for key := range r.Details {
		f.asked[r.Action][key] = true
	}
	f.asked[r.Action][r.Details["verb"]] = true
}

// documented returns what the policy says that rules about action find.
func documented(t *testing.T, action string) string {
	t.Helper()
	text, err := os.ReadFile(policyFile)
	if err != nil {
		t.Fatal(err)
	}
	comment, _, _ := strings.Cut(string(text), "-->")
	_, of, _ := strings.Cut(comment, "\n    "+action+" ")
	of, _, _ = strings.Cut(of, "\n    org.machd.")
	return of
}

// argumentsOf returns arguments that pass every check before polkit.
func argumentsOf(name string, m varlink.Method[*API]) input {
	values := input{
		"name": "MACHINE", "image": "IMAGE", "snapshot": "NEW", "newName": "NEW", "class": "container",
		"source": "/SOURCE", "destination": "/DEST", "signal": 15, "acquireMetadata": "yes", "mode": "tty",
		"arguments": []string{"/PROGRAM", "ARG1"}, "ports": []string{"8080:80"}, "user": "user", "hash": "*",
		"limit": 1 << 20, "level": 6, "service": "io.systemd.Machine", "uid": 0, "gid": 0,
	}
	switch {
	case strings.HasSuffix(name, "Image.CleanPool"):
		values["mode"] = "hidden"
	case strings.HasSuffix(name, "Image.Create"):
		values["name"], values["source"] = "NAME", "debian:13"
	case strings.Contains(name, "MachineImage."):
		values["name"] = "IMAGE"
	case strings.HasSuffix(name, ".Register"):
		values["name"] = "NAME"
	}
	in := input{}
	for _, field := range m.In {
		optional := field.Nullable && !field.Required && !slices.Contains([]string{"name", "destination", "acquireMetadata"}, field.Name)
		if v, ok := values[field.Name]; ok && !optional {
			in[field.Name] = v
		}
	}
	return in
}

func detailsOf(r auth.Request) string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(r.Details)) {
		list = append(list, key+"="+r.Details[key])
	}
	return strings.Join(list, ", ")
}

func trimLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}
