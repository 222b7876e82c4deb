package booted

import (
	"cmp"
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// A toldOption and a toldVerb are what systemd's programs tell of their command
// lines, without the texts.
type (
	toldOption struct {
		Names    []string
		Argument string
	}
	toldVerb struct {
		Names        []string
		MinArguments int
		MaxArguments int
		IsDefault    bool
	}
	toldCommand struct {
		Names   []string
		Options []toldOption
		Verbs   []toldVerb
	}
)

// commandLineOf has the program at path tell of its command line, which is told
// that it is called name.
func commandLineOf(t *testing.T, path, name string) toldCommand {
	t.Helper()
	cmd := exec.Command(path)
	cmd.Args = []string{name, "--introspect-cli"}
	text, err := cmd.Output()
	must(t, err)
	var told struct {
		MediaType string
		Commands  []toldCommand
	}
	must(t, json.Unmarshal(text, &told))
	if told.MediaType != "application/vnd.io.systemd.cli-introspection-0" || len(told.Commands) != 1 || !slices.Equal(told.Commands[0].Names, []string{name}) {
		t.Fatalf("%s called %s tells\n%s", path, name, text)
	}
	return told.Commands[0]
}

// Every verb and option of machinectl and importctl is one of machctl's.
func TestMachd262HasEveryVerbAndOption(t *testing.T) {
	own := commandLineOf(t, machctlHere(), "machctl")
	for program, verb := range map[string]string{"machinectl": "list", "importctl": "pull-raw"} {
		path, err := exec.LookPath(program)
		must(t, err)
		told := commandLineOf(t, path, program)
		if len(told.Options) < 15 || len(told.Verbs) < 10 {
			t.Fatalf("%s tells %+v", program, told)
		}
		for _, v := range told.Verbs {
			for _, name := range v.Names {
				if o := observe(t, "machctl", name, "--help"); o.Code != 0 || !strings.Contains(o.Stdout, "machctl") {
					t.Errorf("%s has %s, and machctl %d\n%s", program, name, o.Code, o.Stderr)
				}
				if !slices.ContainsFunc(own.Verbs, func(v toldVerb) bool { return slices.Contains(v.Names, name) }) {
					t.Errorf("%s has %s, of which machctl tells nothing", program, name)
				}
			}
		}
		for _, option := range told.Options {
			for _, name := range option.Names {
				argv := []string{"machctl", verb, name}
				switch long := strings.HasPrefix(name, "--"); {
				case option.Argument != "required_argument":
				case long:
					argv[2] += "=" + sampleOf(name)
				default:
					argv = append(argv, sampleOf(name))
				}
				if o := observe(t, append(argv, "--help")...); o.Code != 0 {
					t.Errorf("%s has %s, and machctl %d\n%s", program, name, o.Code, o.Stderr)
				}
				if !slices.ContainsFunc(own.Options, func(o toldOption) bool { return slices.Contains(o.Names, name) }) {
					t.Errorf("%s has %s, of which machctl tells nothing", program, name)
				}
			}
		}
	}
	if o := observe(t, "machctl", "list", "--no-such-option", "--help"); o.Code != 2 {
		t.Errorf("an option that is none: %d", o.Code)
	}
}

// Called machinectl, it tells of itself what machinectl does, and of the verbs
// that machinectl leaves to importctl what that does.
func TestMachd262TellsItsCommandLineAsTheStockCommand(t *testing.T) {
	path, err := exec.LookPath("machinectl")
	must(t, err)
	want, got := commandLineOf(t, path, "machinectl"), commandLineOf(t, machctlHere(), "machinectl")
	transfers := commandLineOf(t, strings.Replace(path, "machinectl", "importctl", 1), "importctl").Verbs
	for _, v := range transfers {
		// Those that machinectl has the old name of.
		v.IsDefault = false
		if v.Names[0] != "pull-oci" && v.Names[0] != "list-images" && v.Names[0] != "help" {
			want.Verbs = append(want.Verbs, v)
		}
	}
	for _, told := range []*toldCommand{&want, &got} {
		slices.SortFunc(told.Verbs, func(a, b toldVerb) int { return cmp.Compare(a.Names[0], b.Names[0]) })
		slices.SortFunc(told.Options, func(a, b toldOption) int { return cmp.Compare(a.Names[0], b.Names[0]) })
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("what machinectl tells (-) and what we do (+):\n%s", diff)
	}
}

// sampleOf is a value that an option can have.
func sampleOf(option string) string {
	switch option {
	case "--json":
		return "short"
	case "--lines", "-n", "--max-addresses":
		return "3"
	case "--output", "-o":
		return "json"
	case "--runner":
		return "vmspawn"
	case "--verify":
		return "no"
	case "--class":
		return "machine"
	case "--keep-download":
		return "yes"
	case "--signal", "-s":
		return "TERM"
	case "--setenv", "-E":
		return "A=b"
	case "--host", "-H", "--machine", "-M":
		return "somewhere"
	}
	return "zstd"
}
