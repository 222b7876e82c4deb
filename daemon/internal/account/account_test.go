package account_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/machd/machd/daemon/internal/account"
)

// newRoot makes a tree with the given files, and opens it.
func newRoot(t *testing.T, files map[string]string) (path string, root *os.File) {
	t.Helper()
	path = t.TempDir()
	for name, text := range files {
		name = filepath.Join(path, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return path, root
}

func read(t *testing.T, elem ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const users = "root:x:0:0:root:/root:/bin/sh\nalice:x:1:1::/:/bin/sh\nnew:x:2:2::/:/bin/sh"

func TestSetPassword(t *testing.T) {
	t.Parallel()
	path, root := newRoot(t, map[string]string{
		"etc/passwd": users, "etc/shadow": "root:*:1:0:99999:7:::\nalice:old:5:1:2:3:4:5:",
	})
	for _, user := range []string{"alice", "new"} {
		if err := account.SetPassword(root, user, account.Password{Hash: "$6$a$b"}); err != nil {
			t.Fatal(err)
		}
	}
	lines := read(t, path, "etc/shadow")
	want := "root:*:1:0:99999:7:::\nalice:$6$a$b:D:1:2:3:4:5:\nnew:$6$a$b:D:0:99999:7:::\n"
	if got := withoutDays(lines); got != want {
		t.Errorf("shadow is now\n%s, want\n%s", got, want)
	}
	if info, _ := os.Stat(filepath.Join(path, "etc/shadow")); info.Mode() != 0o640 {
		t.Errorf("its mode is %v", info.Mode())
	}
	if err := account.SetPassword(root, "nobody", account.Password{Hash: "x"}); err == nil {
		t.Error("the password of nobody is set")
	}
}

func TestSetPasswordWithoutShadow(t *testing.T) {
	t.Parallel()
	path, root := newRoot(t, map[string]string{"etc/passwd": users})
	if err := account.SetPassword(root, "alice", account.Password{Hash: "$6$a$b"}); err != nil {
		t.Fatal(err)
	}
	want := "root:x:0:0:root:/root:/bin/sh\nalice:$6$a$b:1:1::/:/bin/sh\nnew:x:2:2::/:/bin/sh"
	if got := read(t, path, "etc/passwd"); got != want {
		t.Errorf("passwd is now\n%s", got)
	}
}

// Links of the image lead to nowhere else.
func TestNothingOutsideIsWritten(t *testing.T) {
	t.Parallel()
	outside, _ := newRoot(t, map[string]string{"passwd": users, "shadow": "root:*:1::::::\n", "authorized_keys": ""})
	for name, links := range map[string]map[string]string{
		"the directory": {"etc": outside, "root": outside},
		"the files":     {"etc/shadow": filepath.Join(outside, "shadow"), "root/.ssh": outside},
		"upwards":       {"etc/shadow": "../../../../../.." + filepath.Join(outside, "shadow"), "root/.ssh/authorized_keys": filepath.Join(outside, "authorized_keys")},
	} {
		path, root := newRoot(t, map[string]string{"x": ""})
		for link, to := range links {
			link = filepath.Join(path, link)
			if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(to, link); err != nil {
				t.Fatal(err)
			}
		}
		if info, err := os.Lstat(filepath.Join(path, "etc")); err == nil && info.IsDir() {
			if err := os.WriteFile(filepath.Join(path, "etc/passwd"), []byte(users), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := account.SetPassword(root, "root", account.Password{Hash: "$6$a$b"}); err == nil {
			t.Errorf("%s: a password is set", name)
		}
		if err := account.AddKeys(root, []string{"ssh-ed25519 AAAA"}); err == nil {
			t.Errorf("%s: a key is added", name)
		}
	}
	if read(t, outside, "shadow") != "root:*:1::::::\n" || read(t, outside, "authorized_keys") != "" {
		t.Error("a file outside has changed")
	}
}

func TestAddKeys(t *testing.T) {
	t.Parallel()
	path, root := newRoot(t, map[string]string{"root/.profile": ""})
	for _, key := range []string{"ssh-ed25519 AAAA one", "ssh-ed25519 BBBB two"} {
		if err := account.AddKeys(root, []string{key}); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, path, "root/.ssh/authorized_keys"); got != "ssh-ed25519 AAAA one\nssh-ed25519 BBBB two\n" {
		t.Errorf("the keys are %q", got)
	}
	for name, want := range map[string]os.FileMode{"root/.ssh": 0o700 | os.ModeDir, "root/.ssh/authorized_keys": 0o600} {
		if info, err := os.Stat(filepath.Join(path, name)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// withoutDays has a D in the place of the days of changes that are today's.
func withoutDays(text string) string {
	today := time.Now().Unix() / (24 * 60 * 60)
	for _, d := range []int64{today, today - 1} {
		text = strings.ReplaceAll(text, fmt.Sprintf(":%d:", d), ":D:")
	}
	return text
}

// The better hash is for systems that use it themselves.
func TestYescryptIsForWhoKnowsIt(t *testing.T) {
	t.Parallel()
	const shadow = "root:*:1:0:99999:7:::\n"
	for what, test := range map[string]struct {
		path, text string
		yes        bool
	}{
		"nothing":         {"etc/none", "", false},
		"its programs":    {"etc/login.defs", "# ENCRYPT_METHOD SHA512\nENCRYPT_METHOD\tYESCRYPT\n", true},
		"in /usr":         {"usr/etc/login.defs", "ENCRYPT_METHOD yescrypt", true},
		"other programs":  {"etc/login.defs", "ENCRYPT_METHOD SHA512\n#ENCRYPT_METHOD YESCRYPT\n", false},
		"something alike": {"etc/login.defs", "ENCRYPT_METHOD YESCRYPTED\nYESCRYPT_COST_FACTOR 5\n", false},
		"PAM":             {"etc/pam.d/common-password", "password\t[success=1 default=ignore]\tpam_unix.so obscure yescrypt\n", true},
		"PAM of Fedora":   {"etc/pam.d/system-auth", "password    sufficient    pam_unix.so yescrypt shadow nullok use_authtok\n", true},
		"PAM of old":      {"etc/pam.d/common-password", "# pam_unix.so yescrypt is better\npassword required pam_unix.so sha512\n", false},
		"another file":    {"etc/pam.d/common-auth", "pam_unix.so yescrypt", false},
	} {
		path, root := newRoot(t, map[string]string{"etc/passwd": users, "etc/shadow": shadow, test.path: test.text})
		if err := account.SetPassword(root, "root", account.Password{Hash: "$6$a$b", Yescrypt: "$y$a$b"}); err != nil {
			t.Fatal(err)
		}
		want := "root:$6$a$b:D:0:99999:7:::\n"
		if test.yes {
			want = "root:$y$a$b:D:0:99999:7:::\n"
		}
		if got := withoutDays(read(t, path, "etc/shadow")); got != want {
			t.Errorf("%s: shadow is now %s", what, got)
		}
	}
}
