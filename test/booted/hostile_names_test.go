package booted

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/pkg/machine1"
	"github.com/machd/machd/test/live"
)

// A name may be any text, and in an object path any bytes. What no machine can
// be called is refused, and becomes no file.
func TestMachdNamesOfEveryByte(t *testing.T) {
	before := stateFiles(t)
	for _, user := range hostileUsers {
		t.Run(user, func(t *testing.T) {
			wantUnharmed(t, func(t *testing.T, _ *probe) {
				b := dialRaw(t, user)
				serial := uint32(2)
				for batch := range slices.Chunk(byteCalls(), 20) {
					first := serial
					for _, c := range batch {
						c.serial = serial
						serial++
						_, err := b.Write(c.bytes())
						must(t, err)
					}
					must(t, b.answered(first, serial-1, errorMessage))
				}
			})
		})
	}
	if diff := cmp.Diff(before, stateFiles(t)); diff != "" {
		t.Errorf("state files (-before +after):\n%s", diff)
	}
}

// byteCalls are calls with each byte that no machine's name has in a name,
// alone and among others. The bus itself lets only text through, but for object
// paths, where any byte can be written by its number.
func byteCalls() (calls []rawCall) {
	for i := range 256 {
		if machine1.ValidMachineName("a" + string(rune(i)) + "a") {
			continue
		}
		around := func(c string) []string { return []string{c, "a" + c + "a", "../" + c, strings.Repeat(c, 1000)} }
		for _, name := range around(string([]byte{byte(i)})) {
			object := toManager("GetOSRelease", "", nil)
			object.path, object.iface = string(machine1.MachinePath(name)), machine1.MachineInterface
			calls = append(calls, object)
		}
		if i == 0 {
			continue
		}
		for _, name := range around(string(rune(i))) {
			var kill builder
			kill.text(name)
			kill.text("all")
			kill.number(9)
			calls = append(calls, toManager("RegisterMachine", "sayssus", hostileRegistration(name)), toManager("KillMachine", "ssi", kill.b),
				toManager("GetMachine", "s", stringOf(name)), toManager("GetImage", "s", stringOf(name)))
		}
	}
	return calls
}

// hostileRegistration is what RegisterMachine takes.
func hostileRegistration(name string) []byte {
	var b builder
	b.text(name)
	b.number(0) // id
	b.text("")
	b.text("container")
	b.number(uint32(os.Getpid()))
	b.text("/")
	return b.b
}

// What a registrant says of a machine may have any characters, and keeps them
// in the state file, whoever reads and writes that.
func TestMachdOddWordsAreKept(t *testing.T) {
	w := watch(t)
	var ascii strings.Builder
	for c := range 127 {
		ascii.WriteByte(byte(c + 1))
	}
	for i, word := range []string{ascii.String(), " a ", "#x \\", `"'$x` + "`", "é\u2028\U0001f600", "a\nLEADER=1\r"} {
		name := fmt.Sprintf("odd-%d", i)
		p := startProcess(t, name)
		root := "/" + strings.ReplaceAll(word, "/", "")
		must(t, w.call(t, "RegisterMachine", []any{name, []byte{}, word, "container", uint32(p.pid), root}))
		if got := w.properties(t, name); got["Service"] != word || got["RootDirectory"] != root {
			t.Errorf("it is %q in %q, want %q in %q", got["Service"], got["RootDirectory"], word, root)
		}
	}
	before := w.snapshot(t)
	run(t, "systemctl", "restart", theService)
	if diff := cmp.Diff(before, w.snapshot(t)); diff != "" {
		t.Fatalf("a restart: machines (-before +after):\n%s", diff)
	}
	useStock(t)
	useMachd(t)
	if diff := cmp.Diff(before, w.snapshot(t), stockLoses()); diff != "" {
		t.Errorf("a swap and back: machines (-before +after):\n%s", diff)
	}
}

// stockLoses leaves out what systemd-machined before 258 writes in a form that
// it does not read itself.
func stockLoses() cmp.Option {
	return cmp.FilterPath(func(p cmp.Path) bool {
		key, ok := p.Last().(cmp.MapIndex)
		return ok && live.Host.Version < 258 && slices.Contains([]string{"Service", "RootDirectory"}, key.Key().String())
	}, cmp.Ignore())
}
