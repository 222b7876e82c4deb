package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/client/internal/machine1test"
	"github.com/machd/machd/pkg/machine1"
)

// A completedLine is a command line and what is offered at its end: whole words,
// or values behind --option=.
type completedLine struct {
	line string
	want []string
}

// lines are command lines, and what each shell offers at their ends. Files is a
// directory with the file one.txt and nothing else.
var lines = []completedLine{
	{"NAME stat", []string{"status"}},
	{"NAME sta", []string{"start", "status"}},
	{"NAME status c", []string{"c8-ns"}},
	{"NAME status ", []string{".host", "c8-ns", "web"}},
	{"NAME status c8-ns w", []string{"web"}},
	{"NAME clone c8", []string{"c8-test"}},
	{"NAME shell root@w", []string{"root@web"}},
	{"NAME shell root@", []string{"root@.host", "root@c8-ns", "root@web"}},
	{"NAME list --colum", []string{"--columns"}},
	{"NAME list --columns=name,cla", []string{"name,class"}},
	{"NAME list --columns name,cla", []string{"name,class"}},
	{"NAME kill --kill-whom=", []string{"all", "leader", "supervisor"}},
	{"NAME kill --kill-whom s", []string{"supervisor"}},
	{"NAME show -p Lead", []string{"Leader", "LeaderPIDFDId"}},
	{"NAME read-only c8-test ", []string{"no", "yes"}},
	{"NAME copy-to c8-ns o", []string{"one.txt"}},
	{"NAME copy-to c8-ns one.txt /e", nil}, // nobody may look into it
	{"NAME start $(touch made", nil},
	{"NAME help exit", []string{"exit-codes"}},
}

// Each shell, as it is, offers what machctl says. None runs what is typed.
func TestShellsComplete(t *testing.T) {
	t.Parallel()
	w := machine1test.New(t)
	web, ns := machine1test.C8NS(), machine1test.C8NS()
	web.Name = "web"
	w.Add(ns)
	w.Add(web)
	w.AddImage(machine1test.Image{ListedImage: machine1.ListedImage{Name: "c8-test", Type: "directory"}})
	for name, complete := range map[string]func(*testing.T, *machine1test.World, string, string) []string{
		"bash": bashOffers, "zsh": zshOffers, "fish": fishOffers,
	} {
		for command, lines := range map[string][]completedLine{"machctl": lines, machinectl: lines[:4]} {
			for _, test := range lines {
				line := strings.Replace(test.line, "NAME", command, 1)
				t.Run(name+"/"+line, func(t *testing.T) {
					t.Parallel()
					dir := t.TempDir()
					if err := os.WriteFile(filepath.Join(dir, "one.txt"), nil, 0o600); err != nil {
						t.Fatal(err)
					}
					got := complete(t, w, dir, line)
					slices.Sort(got)
					want := slices.Clone(test.want)
					switch name {
					case "bash":
						want = behindBreaks(line, want)
					case "fish": // which takes it for hidden
						want = slices.DeleteFunc(want, func(word string) bool { return word[0] == '.' })
					}
					if diff := cmp.Diff(want, slices.Compact(got), cmp.Transformer("nil", func(s []string) string { return fmt.Sprintf("%q", s) })); diff != "" {
						t.Errorf("offered (-want +got):\n%s", diff)
					}
					if _, err := os.Stat(filepath.Join(dir, "made")); err == nil {
						t.Error("what was typed has been run")
					}
				})
			}
		}
	}
}

// behindBreaks leaves out what bash takes for words before the one that it
// completes.
func behindBreaks(line string, words []string) []string {
	typed := line[strings.LastIndexByte(line, ' ')+1:]
	if name, value, found := strings.Cut(typed, "="); found && strings.HasPrefix(name, "--") {
		typed = value
	}
	before := strings.TrimSuffix(typed[:strings.LastIndexAny(typed, "=:@")+1], "@")
	var rest []string
	for _, word := range words {
		rest = append(rest, strings.TrimPrefix(word, before))
	}
	return rest
}

// inShell runs a shell on a terminal until it has done all of input, and
// returns what it has left in the file out. %s in argv is a file with script.
func inShell(t *testing.T, w *machine1test.World, dir, script, input string, argv ...string) string {
	t.Helper()
	home := t.TempDir()
	out, start := filepath.Join(home, "out"), filepath.Join(home, ".zshrc")
	if err := os.WriteFile(start, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range argv {
		argv[i] = strings.ReplaceAll(argv[i], "%s", start)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(command(w).Env, "OUT="+out, "HISTFILE=", "HOME="+home, "ZDOTDIR="+home)
	cmd.Dir = dir
	tm := putOnTerminal(t, 200, cmd)
	tm.await("ready> ")
	tm.typed(input)
	tm.exits(0)
	text, err := os.ReadFile(out)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(text)
}

// What a machine calls its files is no part of the host's command line: that has
// one word for each, whatever is in it. What is typed goes on behind the tab with
// what tells one file from the other.
func TestNamesInMachinesAreQuoted(t *testing.T) {
	t.Parallel()
	w := machine1test.New(t)
	m := machine1test.C8NS()
	m.Root = t.TempDir()
	for _, name := range []string{
		"run/$(touch made)a", "run/$(touch made)b", "tick/`touch made`;touch made&a", "tick/`touch made`;touch made&b",
		"srv/My a", "srv/My b", "one/a 'b' \"c\" !x {d,e} *~#日本", "one/evil\u009b", "quotes/it's 1", "quotes/it's 2",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(m.Root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(m.Root, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w.Add(m)
	for name, run := range map[string]func(*testing.T, *machine1test.World, string, string) string{
		"bash": bashRuns, "zsh": zshRuns, "fish": fishRuns,
	} {
		for typed, want := range map[string]string{
			"/run/\ta":        "/run/$(touch made)a",
			"\"/run/\ta\"":    "/run/$(touch made)a",
			"'/run/\ta'":      "/run/$(touch made)a",
			"/run/\ta\t":      "/run/$(touch made)a",
			"/tick/\ta":       "/tick/`touch made`;touch made&a",
			"\"/tick/\ta\"":   "/tick/`touch made`;touch made&a",
			"/srv/\ta":        "/srv/My a",
			"/srv/\ta\t":      "/srv/My a",
			"\"/srv/\ta\t":    "/srv/My a",
			"/one/a\t":        "/one/a 'b' \"c\" !x {d,e} *~#日本",
			"/one/e\t":        "/one/e",
			"/quotes/\t1":     "/quotes/it's 1",
			"\"/quotes/\t1\"": "/quotes/it's 1",
		} {
			t.Run(name+"/"+typed, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				got := run(t, w, dir, "machctl copy-from c8-ns "+typed)
				if got != "copy-from\nc8-ns\n"+want+"\n" {
					t.Errorf("the words are %q, want %q", got, want)
				}
				if _, err := os.Stat(filepath.Join(dir, "made")); err == nil {
					t.Error("what a file is called has been run")
				}
			})
		}
	}
}

// recorded is a machctl that writes its words down instead of doing what they say.
const recorded = `
machctl() {
	if [ "$1" = __complete ]; then
		command machctl "$@"
	else
		printf '%s\n' "$@" >>"$OUT"
	fi
}
PS1='ready> '
`

// bashRuns types a line, and what ends it, and returns the words that are run.
func bashRuns(t *testing.T, w *machine1test.World, dir, line string) string {
	return inShell(t, w, dir, `
source <(machctl completion bash)
bind 'set enable-bracketed-paste off'
`+recorded, line+"\nexit\n", "bash", "--noprofile", "--rcfile", "%s", "-i")
}

func zshRuns(t *testing.T, w *machine1test.World, dir, line string) string {
	return inShell(t, w, dir, `
autoload -Uz compinit; compinit -u -D
source <(machctl completion zsh)
unsetopt zle_bracketed_paste
`+recorded, line+"\nexit\n", "zsh", "-d", "-i")
}

func fishRuns(t *testing.T, w *machine1test.World, dir, line string) string {
	return inShell(t, w, dir, `
machctl completion fish | source
function machctl
	printf '%s\n' $argv >>$OUT
end
function fish_prompt
	echo 'ready> '
end
`, line+"\nexit\n", "fish", "-i", "--init-command", "source %s")
}

// bashOffers has readline put all completions in place of the word, and then
// looks at the line.
func bashOffers(t *testing.T, w *machine1test.World, dir, line string) []string {
	name, _, _ := strings.Cut(line, " ")
	text := inShell(t, w, dir, `
source <(`+name+` completion bash)
bind 'set enable-bracketed-paste off'
bind '"\t": insert-completions'
leave() { printf %s "$READLINE_LINE" >"$OUT"; exit; }
bind -x '"\C-g": leave'
PS1='ready> '
`, line+"\t\a", "bash", "--noprofile", "--rcfile", "%s", "-i")
	typed := strings.TrimSuffix(line[:strings.LastIndexAny(line, " =:@")+1], "@")
	rest, found := strings.CutPrefix(text, typed)
	if !found {
		t.Fatalf("the line is %q", text)
	}
	if rest == strings.TrimPrefix(line, typed) {
		return nil // nothing was offered
	}
	return strings.Fields(rest)
}

// zshOffers looks at what is handed to the completion system.
func zshOffers(t *testing.T, w *machine1test.World, dir, line string) []string {
	name, _, _ := strings.Cut(line, " ")
	text := inShell(t, w, dir, `
autoload -Uz compinit; compinit -u -D
source <(`+name+` completion zsh)
compadd() {
	local -a hits
	builtin compadd -O hits "$@"
	(($#hits)) && print -rl -- $hits >>$OUT
	builtin compadd "$@"
}
zstyle ':completion:*' completer _complete
unsetopt zle_bracketed_paste
leave() { exit }
zle -N leave
bindkey '^I' complete-word '^G' leave
PS1='ready> '
`, line+"\t\a", "zsh", "-d", "-i")
	return strings.Fields(text)
}

// fishOffers asks fish, which has a command for that.
func fishOffers(t *testing.T, w *machine1test.World, dir, line string) []string {
	name, _, _ := strings.Cut(line, " ")
	cmd := exec.Command("fish", "--no-config", "-c", name+` completion fish | source; complete -C "$LINE"`)
	cmd.Env = append(command(w).Env, "LINE="+line, "HOME="+dir)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("fish: %v: %s", err, out)
	}
	typed := line[strings.LastIndexByte(line, ' ')+1:]
	option, _, assigned := strings.Cut(typed, "=")
	var words []string
	for row := range strings.Lines(string(out)) {
		word, _, _ := strings.Cut(strings.TrimSuffix(row, "\n"), "\t")
		if assigned {
			word = strings.TrimPrefix(word, option+"=")
		}
		words = append(words, word)
	}
	return words
}
