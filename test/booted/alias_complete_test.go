package booted

import (
	"encoding/json"
	"strings"
	"testing"
)

// cliTold is what systemd's programs tell of their command lines.
type cliTold struct {
	Commands []struct {
		Options []struct {
			Names    []string
			Argument string
		}
		Verbs []struct{ Names []string }
	}
}

// withoutThese are options that machctl does not have.
var withoutThese = map[string]string{
	"--introspect-cli": "is about machinectl itself",
}

// Every verb and option of machinectl and importctl is one of machctl's.
func TestMachd262HasEveryVerbAndOption(t *testing.T) {
	for program, verb := range map[string]string{"machinectl": "list", "importctl": "pull-raw"} {
		var told cliTold
		must(t, json.Unmarshal([]byte(run(t, program, "--introspect-cli")), &told))
		if len(told.Commands) != 1 || len(told.Commands[0].Options) < 15 || len(told.Commands[0].Verbs) < 10 {
			t.Fatalf("%s tells %+v", program, told)
		}
		for _, v := range told.Commands[0].Verbs {
			for _, name := range v.Names {
				if o := observe(t, "machctl", name, "--help"); o.Code != 0 || !strings.Contains(o.Stdout, "machctl") {
					t.Errorf("%s has %s, and machctl %d\n%s", program, name, o.Code, o.Stderr)
				}
			}
		}
		for _, option := range told.Commands[0].Options {
			for _, name := range option.Names {
				if withoutThese[name] != "" {
					continue
				}
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
			}
		}
	}
	if o := observe(t, "machctl", "list", "--no-such-option", "--help"); o.Code != 2 {
		t.Errorf("an option that is none: %d", o.Code)
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
