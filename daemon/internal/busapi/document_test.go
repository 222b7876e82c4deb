package busapi

import (
	"encoding/xml"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/test/mdoc"
)

const (
	documentFile = "../../../docs/api.md"
	manualFile   = "../../../man/org.machd.5"
	contract     = "../../../pkg/machd"
)

const documentHead = `# The API of machd

machd serves ` + "`org.freedesktop.machine1`" + ` as systemd-machined does, member for
member: org.freedesktop.machine1(5) describes it. This is what it serves beyond
that, on the same bus name and the same objects, and on the Varlink socket
` + "`/run/systemd/machine/io.systemd.Machine`" + ` as ` + "`org.machd.Machine`" + ` and
` + "`org.machd.MachineImage`" + ` (` + "`varlinkctl introspect`" + ` describes those). Names and
types stay as they are; options may become more. An option that machd does not
know is refused, with its name, so that none is taken for heeded that was not.
Times are in microseconds.

The Go package ` + "`client`" + ` has a typed function for each method.

*This page is made of the daemon's tables. Do not edit it.*
`

const documentTail = `
## Sessions

A command that runs in a machine is held by a socket of the kind
SOCK_SEQPACKET, which the reply brings. Each packet is one JSON object.

The caller may send ` + "`{\"signal\": 15}`" + ` at any time, for any signal. The daemon
sends one packet when the command has ended, and hangs up:

| packet | the command |
|---|---|
| ` + "`{\"exit\": 0}`" + ` | ended with this status |
| ` + "`{\"signal\": 9}`" + ` | was killed by this signal |
| ` + "`{\"failure\": \"not-found\", \"message\": …}`" + ` | there is no such program in the machine |
| ` + "`{\"failure\": \"not-executable\", \"message\": …}`" + ` | there is, and it cannot be run |
| ` + "`{\"failure\": \"refused\", \"message\": …}`" + ` | there is no such user or directory, or the machine cannot run commands |
| ` + "`{\"failure\": \"lost\", \"message\": …}`" + ` | nobody knows how it ended: the machine has gone, or the daemon |

A caller that hangs up first ends the command. What the command reads and
writes does not pass through the daemon: it has the caller's own descriptors,
or a terminal of the machine's whose master the reply brings.

## Progress

What takes long tells how far it is by a pipe whose writing end came with the
call as the option ` + "`progress`" + `: a line with a JSON object, at most ten times a
second, and only if there is something new.

| key | |
|---|---|
| ` + "`bytes`" + ` | copied |
| ` + "`files`" + ` | copied or removed, all but directories |
| ` + "`total_bytes`, `total_files`" + ` | to be done in all, what is done included; left out while nobody knows |

A line for which the pipe has no room is left out, so nothing waits for a caller
who does not read. Once nobody has the reading end open, the operation is called
off: what it has made is taken away, and what was to be removed and has lost its
name is removed in the background.
`

// The document says what the tables and the option sets say.
func TestAPIDocument(t *testing.T) {
	t.Parallel()
	options := readOptions(t)
	var b strings.Builder
	b.WriteString(documentHead)
	for _, object := range []struct {
		where string
		table *vtable.Interface
	}{
		{"On the object `" + string(machine1.ObjectPath) + "`", &ownManagerInterface},
		{"On the object of each machine: the same about that one", &ownMachineInterface},
	} {
		text, err := Introspect(t.Context(), object.table.Name)
		must(t, err)
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n", object.table.Name, object.where)
		document(t, &b, parseInterface(t, text, object.table.Name), object.table, options)
	}
	b.WriteString(documentTail)
	got := b.String()
	if *update {
		must(t, os.WriteFile(documentFile, []byte(got), 0o644))
	}
	want, err := os.ReadFile(documentFile)
	must(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("docs/api.md is not what the tables say; run the test with -update (-file +now):\n%s", diff)
	}
	manual(t, got)
}

// manual compares the manual page, which says the same as the document.
func manual(t *testing.T, document string) {
	t.Helper()
	got := mdoc.Head("org.machd", 5, "November 29, 2026", "what machd serves beyond org.freedesktop.machine1") +
		".Sh DESCRIPTION\n" + mdoc.FromMarkdown(document) + manualTail
	if *update {
		must(t, os.WriteFile(manualFile, []byte(got), 0o644))
	}
	want, err := os.ReadFile(manualFile)
	must(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("man/org.machd.5 is not what the tables say; run the test with -update (-file +now):\n%s", diff)
	}
}

const manualTail = `.Sh SEE ALSO
.Xr busctl 1 ,
.Xr machctl 1 ,
.Xr org.freedesktop.machine1 5 ,
.Xr machd 8
`

// An xmlInterface is one of an introspection.
type xmlInterface struct {
	Name    string `xml:"name,attr"`
	Methods []struct {
		Name string   `xml:"name,attr"`
		Args []xmlArg `xml:"arg"`
	} `xml:"method"`
}

type xmlArg struct {
	Name      string `xml:"name,attr"`
	Type      string `xml:"type,attr"`
	Direction string `xml:"direction,attr"`
}

func parseInterface(t *testing.T, text, name string) xmlInterface {
	t.Helper()
	var node struct {
		Interfaces []xmlInterface `xml:"interface"`
	}
	must(t, xml.Unmarshal([]byte(text), &node))
	i := slices.IndexFunc(node.Interfaces, func(i xmlInterface) bool { return i.Name == name })
	if i < 0 {
		t.Fatalf("there is no interface %s", name)
	}
	return node.Interfaces[i]
}

// document writes what an interface has.
func document(t *testing.T, b *strings.Builder, i xmlInterface, table *vtable.Interface, options map[string][]optionRow) {
	t.Helper()
	for n, method := range i.Methods {
		row := table.Methods[n]
		var in, out []string
		for _, arg := range method.Args {
			if arg.Direction == "in" {
				in = append(in, arg.Type+" "+arg.Name)
			} else {
				out = append(out, arg.Type+" "+arg.Name)
			}
		}
		fmt.Fprintf(b, "\n### %s\n\n`%s(%s) → (%s)`\n", method.Name, method.Name, strings.Join(in, ", "), strings.Join(out, ", "))
		if row.Doc == "" {
			t.Errorf("%s.%s has no description", i.Name, method.Name)
		}
		fmt.Fprintf(b, "\n%s\n", row.Doc)
		if row.Access != "" {
			fmt.Fprintf(b, "\nIt takes the right `%s`.\n", row.Access)
		}
		if !slices.Contains(in, "a{sv} options") || table == &ownMachineInterface {
			continue
		}
		set, ok := optionSets[method.Name]
		if !ok {
			t.Errorf("nobody says which options %s takes", method.Name)
		}
		rows := options[set]
		if set == "RunOptions" {
			rows = slices.DeleteFunc(slices.Clone(rows), func(o optionRow) bool { return !machd.RunTakes(o.name) })
		}
		writeOptions(b, rows)
	}
	for _, signal := range table.Signals {
		if signal.Doc == "" {
			t.Errorf("the signal %s.%s has no description", i.Name, signal.Name)
		}
		fmt.Fprintf(b, "\n### Signal %s\n\n`%s(%s)`, of the types `%s`\n\n%s\n", signal.Name, signal.Name,
			strings.Join(strings.Fields(signal.Args), ", "), signal.Types, signal.Doc)
	}
}

// optionSets are the option types of the methods; "" has none yet.
var optionSets = map[string]string{
	"BindMount": "BindOptions", "Unbind": "", "CopyFrom": "CopyOptions", "CopyTo": "CopyOptions", "RemoveImage": "RemoveOptions",
	"CloneImage": "CloneOptions", "CleanPool": "CleanOptions",
	"CreateImage": "CreateOptions", "SetImagePassword": "PasswordOptions", "CreateSnapshot": "", "RestoreSnapshot": "", "RemoveSnapshot": "",
	"StartMachine": "StartOptions", "PlanStart": "StartOptions", "RunMachine": "RunOptions", "SetLimits": "LimitOptions",
	"StopMachine": "StopOptions", "TerminateMachine": "TerminateOptions", "RestartMachine": "StopOptions", "WaitMachine": "WaitOptions", "Exec": "ExecOptions",
	"ListOverview": "OverviewOptions",
	"AddPorts":     "PortOptions", "RemovePorts": "PortOptions", "Diagnose": "DiagnoseOptions",
}

func writeOptions(b *strings.Builder, rows []optionRow) {
	if len(rows) == 0 {
		b.WriteString("\nThere are no options yet.\n")
		return
	}
	b.WriteString("\n| option | type | |\n|---|---|---|\n")
	for _, o := range rows {
		fmt.Fprintf(b, "| `%s` | `%s` | %s |\n", o.name, o.signature, strings.ReplaceAll(o.doc, "|", `\|`))
	}
}

// An optionRow is one option as its struct describes it.
type optionRow struct{ name, signature, doc string }

// namedField is the comment of a field: the option's name, and what it is.
var namedField = regexp.MustCompile(`^([a-z_]+): (.*)$`)

// readOptions reads the option sets from their source: each field's comment
// begins with the option's name.
func readOptions(t *testing.T) map[string][]optionRow {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(contract, "*.go"))
	must(t, err)
	structs := map[string]*ast.StructType{}
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		must(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				if s, ok := spec.Type.(*ast.StructType); ok {
					structs[spec.Name.Name] = s
				}
			}
			return true
		})
	}
	sets := map[string][]optionRow{}
	for name, s := range structs {
		if strings.HasSuffix(name, "Options") {
			sets[name] = optionsOf(t, name, s, structs)
		}
	}
	return sets
}

func optionsOf(t *testing.T, set string, s *ast.StructType, structs map[string]*ast.StructType) (rows []optionRow) {
	t.Helper()
	for _, field := range s.Fields.List {
		if len(field.Names) == 0 { // embedded
			rows = append(rows, optionsOf(t, set, structs[field.Type.(*ast.Ident).Name], structs)...)
			continue
		}
		match := namedField.FindStringSubmatch(strings.TrimSpace(field.Comment.Text()))
		if match == nil {
			t.Errorf("%s.%s is not described as an option", set, field.Names[0])
			continue
		}
		rows = append(rows, optionRow{match[1], signatureOfField(field.Type), match[2]})
	}
	return rows
}

// signatureOfField returns the D-Bus type of an option.
func signatureOfField(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.ArrayType:
		return "a" + signatureOfField(e.Elt)
	case *ast.SelectorExpr:
		if e.Sel.Name == "UnixFD" {
			return "h"
		}
		return "t" // time.Duration, in microseconds
	case *ast.Ident:
		switch e.Name {
		case "bool":
			return "b"
		case "uint16":
			return "q"
		case "uint64":
			return "t"
		}
	}
	return "s"
}
