package booted

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	machd1 "github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// ownVarlink are the interfaces that stock has not.
var ownVarlink = []string{machd1.MachineVarlink, machd1.MachineImageVarlink}

// described is what varlinkctl finds out about a socket.
type described struct {
	Interfaces []string
	Info       string // without the lines in which each program names itself
	Texts      map[string]string
}

// describe asks the socket at path, and leaves our own interfaces out.
func describe(t *testing.T, path string) described {
	t.Helper()
	d := described{Texts: map[string]string{}}
	for _, name := range strings.Fields(run(t, "varlinkctl", "list-interfaces", path)) {
		if slices.Contains(ownVarlink, name) {
			continue
		}
		d.Interfaces = append(d.Interfaces, name)
		d.Texts["what varlinkctl makes of "+name] = withoutRemarks(run(t, "varlinkctl", "introspect", path, name))
		answer, err := varlinkCallAt(t, "root", path, "org.varlink.service.GetInterfaceDescription", `{"interface":"`+name+`"}`)
		must(t, err)
		d.Texts[name] = withoutRemarks(answer["description"].(string))
	}
	for line := range strings.Lines(run(t, "varlinkctl", "info", path)) {
		if key, _, _ := strings.Cut(strings.TrimSpace(line), ":"); !slices.Contains([]string{"Vendor", "Product", "Version", "URL"}, key) &&
			!slices.Contains(ownVarlink, strings.TrimSpace(line)) {
			d.Info += line
		}
	}
	return d
}

// withoutRemarks leaves of the comments those that programs read.
func withoutRemarks(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		remark, isRemark := strings.CutPrefix(strings.TrimSpace(line), "# ")
		if line != "\n" && (!isRemark || strings.HasPrefix(remark, "[")) {
			lines = append(lines, strings.TrimRight(line, "\n"))
		}
	}
	return strings.Join(lines, "\n")
}

// describeAll is what programs read to know what they may send; varlinkctl
// decides by it whether to ask for a stream.
func describeAll(t *testing.T) map[string]described {
	t.Helper()
	all := map[string]described{}
	for _, path := range varlinkSockets {
		all[path] = describe(t, path)
	}
	return all
}

// What machd says of itself can be read by systemd's own parser.
func TestMachdDescriptionsAreValid(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "interface.varlink")
	for _, path := range varlinkSockets {
		for _, name := range strings.Fields(run(t, "varlinkctl", "list-interfaces", path)) {
			answer, err := varlinkCallAt(t, "root", path, "org.varlink.service.GetInterfaceDescription", `{"interface":"`+name+`"}`)
			must(t, err)
			must(t, os.WriteFile(file, []byte(answer["description"].(string)), 0o644))
			if o := observe(t, "varlinkctl", "validate-idl", file); o.Code != 0 {
				t.Errorf("%s of %s: %s", name, path, o.Stderr)
			}
		}
	}
	for _, name := range ownVarlink {
		if text := run(t, "varlinkctl", "introspect", machine1.VarlinkSocket, name); !strings.Contains(text, "method ") {
			t.Errorf("%s has no methods: %s", name, text)
		}
	}
}
