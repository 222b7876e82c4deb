package inside

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/daemon/internal/rootfs"
	"github.com/machd/machd/pkg/machd"
)

// rootWith returns a root directory with files: their modes and contents.
func rootWith(t *testing.T, files map[string]string) *os.File {
	t.Helper()
	dir := t.TempDir()
	for path, text := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if text == "x" {
			mode = 0o755
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	root, err := rootfs.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func TestFindProgram(t *testing.T) {
	t.Parallel()
	root := rootWith(t, map[string]string{
		"usr/bin/tool": "x", "usr/local/bin/tool": "a text", "opt/tool": "x", "home/lena/bin/own": "x", "etc/motd": "a text",
		"etc/passwd": "root:x:0:0::/root:/bin/sh\nlena:x:1001:100::/home/lena:/bin/sh\n",
	})
	if err := os.Symlink("/usr/bin/tool", filepath.Join(root.Name(), "bin-link")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		what    string
		command Command
		program string
		failure machd.Failure
	}{
		{"by the usual path, past what is no program", Command{Args: []string{"tool"}}, "/usr/bin/tool", ""},
		{"by a path of the caller's", Command{Args: []string{"tool"}, Environment: []string{"PATH=/nowhere:/opt"}}, "/opt/tool", ""},
		{"by a path relative to the directory", Command{Args: []string{"own"}, Directory: "/home/lena", Environment: []string{"PATH=bin"}}, "/home/lena/bin/own", ""},
		{"absolute", Command{Args: []string{"/opt/tool"}}, "/opt/tool", ""},
		{"by a link of the machine's", Command{Args: []string{"/bin-link"}}, "/bin-link", ""},
		{"relative to the user's home", Command{Args: []string{"bin/own"}, User: "lena"}, "/home/lena/bin/own", ""},
		{"relative to a directory", Command{Args: []string{"./tool"}, Directory: "/opt"}, "/opt/./tool", ""},
		{"nowhere", Command{Args: []string{"nosuch"}}, "", machd.FailureNotFound},
		{"below what is no directory", Command{Args: []string{"/etc/motd/x"}}, "", machd.FailureNotFound},
		{"only what is no program", Command{Args: []string{"tool"}, Environment: []string{"PATH=/usr/local/bin:/x"}}, "", machd.FailureNotExecutable},
		{"a text", Command{Args: []string{"/etc/motd"}}, "", machd.FailureNotExecutable},
		{"a directory", Command{Args: []string{"/etc"}}, "", machd.FailureNotExecutable},
	} {
		program, failure := findProgram(root, test.command)
		if program != test.program || failure != test.failure {
			t.Errorf("%s: got %q, %q", test.what, program, failure)
		}
	}
}

func TestAccountOf(t *testing.T) {
	t.Parallel()
	root := rootWith(t, map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/bash\nodd\nbad:x:no:0::/:/bin/sh\nlena:x:1001:100:L:/home/lena:/bin/zsh\nbare:x:7:7:::\n",
		"etc/group":  "users:x:100:\naudio:x:29:other,lena\nbroken\nsudo:x:27:lena\n",
	})
	for user, want := range map[string]Account{
		"root": {Name: "root", Home: "/root", Shell: "/bin/bash"},
		"lena": {Name: "lena", UID: 1001, GID: 100, Groups: []uint32{29, 27}, Home: "/home/lena", Shell: "/bin/zsh"},
		"1001": {Name: "lena", UID: 1001, GID: 100, Groups: []uint32{29, 27}, Home: "/home/lena", Shell: "/bin/zsh"},
		"bare": {Name: "bare", UID: 7, GID: 7, Home: "/", Shell: "/bin/sh"},
		"4711": {Name: "4711", UID: 4711, GID: 4711, Home: "/", Shell: "/bin/sh"},
	} {
		got, ok := accountOf(root, user)
		if diff := cmp.Diff(want, got); !ok || diff != "" {
			t.Errorf("%s is found: %t (-want +got):\n%s", user, ok, diff)
		}
	}
	for _, user := range []string{"bad", "nosuch", "odd", ""} {
		if got, ok := accountOf(root, user); ok {
			t.Errorf("%q is %+v", user, got)
		}
	}
	if got, ok := accountOf(rootWith(t, nil), "root"); !ok || got.UID != 0 || got.Home != "/" {
		t.Errorf("without any file root is %+v, %t", got, ok)
	}
}

func TestCommandNormalize(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]Command{
		"no command":           {},
		"an empty program":     {Args: []string{""}},
		"a relative directory": {Args: []string{"ls"}, Directory: "srv"},
		"a NUL byte":           {Args: []string{"ls", "a\x00b"}},
		"a user of two words":  {Args: []string{"ls"}, User: " x"},
		"no variable":          {Args: []string{"ls"}, Environment: []string{"=x"}},
	} {
		if got, err := c.Normalize(); err == nil {
			t.Errorf("%s: %+v", what, got)
		}
	}
	c, err := Command{Args: []string{"ls", "$$"}}.Normalize()
	if err != nil || c.User != "root" || c.Shell {
		t.Errorf("got %+v, %v", c, err)
	}
	if diff := cmp.Diff([]string{"ls", "$$$$", "$${X}", "%n"}, literally([]string{"ls", "$$", "${X}", "%n"})); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
	shell, err := Command{User: "lena", Login: true}.Normalize()
	if err != nil || !shell.Shell || shell.Args[0] != "/bin/sh" || shell.Args[len(shell.Args)-1] != "lena" {
		t.Errorf("got %+v, %v", shell, err)
	}
}

// What the service manager tells of a command is not taken for the command's.
func TestEndings(t *testing.T) {
	t.Parallel()
	u := execUnit{Command: Command{Args: []string{"tool"}, User: "lena", Directory: "/srv"}, machine: "box", program: "/bin/tool"}
	for _, test := range []struct {
		what string
		end  ending
		exit int
		want machd.Outcome // without the message
	}{
		{"its status", ending{true, codeExited, 7}, 7, machd.Outcome{}},
		{"its own 203", ending{true, codeExited, 203}, 203, machd.Outcome{}},
		{"a status too quick to be seen running", ending{false, codeExited, 3}, 3, machd.Outcome{}},
		{"a signal", ending{true, codeKilled, 9}, -1, machd.Outcome{Signal: 9}},
		{"a signal and a core", ending{true, codeDumped, 11}, -1, machd.Outcome{Signal: 11}},
		{"no program", ending{false, codeExited, 203}, -1, machd.Outcome{Failure: machd.FailureNotExecutable}},
		{"no directory", ending{false, codeExited, 200}, -1, machd.Outcome{Failure: machd.FailureRefused}},
		{"no user", ending{false, codeExited, 217}, -1, machd.Outcome{Failure: machd.FailureRefused}},
		{"never run", ending{}, -1, machd.Outcome{Failure: machd.FailureRefused}},
	} {
		got := test.end.outcome(u)
		if (got.Failure == "") != (got.Message == "") {
			t.Errorf("%s: the message is %q", test.what, got.Message)
		}
		got.Message = ""
		if test.exit >= 0 {
			test.want.Exit = &test.exit
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.what, diff)
		}
	}
}
