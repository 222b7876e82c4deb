package inside_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/daemon/internal/inside"
	"github.com/machd/machd/pkg/machine1"
)

func TestNormalize(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		in, want inside.Shell
	}{
		{"the program alone is its arguments", inside.Shell{User: "a", Path: "/bin/x"},
			inside.Shell{User: "a", Path: "/bin/x", Args: []string{"/bin/x"}}},
		{"arguments are kept", inside.Shell{Path: "/bin/x", Args: []string{"y", ""}},
			inside.Shell{User: "root", Path: "/bin/x", Args: []string{"y", ""}}},
		{"a number is a user", inside.Shell{User: "1000", Path: "/x"},
			inside.Shell{User: "1000", Path: "/x", Args: []string{"/x"}}},
		{"names may be odd", inside.Shell{User: `DOM\jörg b@x`, Path: "/x"},
			inside.Shell{User: `DOM\jörg b@x`, Path: "/x", Args: []string{"/x"}}},
		{"the environment is kept", inside.Shell{Path: "/x", Environment: []string{"_a1=", "B=c=\tä"}},
			inside.Shell{User: "root", Path: "/x", Args: []string{"/x"}, Environment: []string{"_a1=", "B=c=\tä"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := test.in.Normalize()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			again, err := got.Normalize()
			if err != nil || !cmp.Equal(again, got) {
				t.Errorf("a second time: got %+v, %v", again, err)
			}
		})
	}
}

func TestNormalizeRefuses(t *testing.T) {
	t.Parallel()
	many := make([]string, 16385)
	tests := []struct {
		in   inside.Shell
		text string
		kind error
	}{
		{inside.Shell{Path: "relative/path"}, "Specified path 'relative/path' is not absolute", machine1.ErrInvalidArgs},
		{inside.Shell{User: "a:b"}, "Invalid user name 'a:b'", machine1.ErrInvalidArgs},
		{inside.Shell{User: "a/b"}, "Invalid user name 'a/b'", machine1.ErrInvalidArgs},
		{inside.Shell{User: "a\nb"}, "Invalid user name 'a\nb'", machine1.ErrInvalidArgs},
		{inside.Shell{User: " a"}, "Invalid user name ' a'", machine1.ErrInvalidArgs},
		{inside.Shell{User: ".."}, "Invalid user name '..'", machine1.ErrInvalidArgs},
		{inside.Shell{User: "-1"}, "Invalid user name '-1'", machine1.ErrInvalidArgs},
		{inside.Shell{User: "65535"}, "Invalid user name '65535'", machine1.ErrInvalidArgs},
		{inside.Shell{User: "4294967295"}, "Invalid user name '4294967295'", machine1.ErrInvalidArgs},
		{inside.Shell{User: "01"}, "Invalid user name '01'", machine1.ErrInvalidArgs},
		{inside.Shell{Environment: []string{"A"}}, "Invalid environment assignments", machine1.ErrInvalidArgs},
		{inside.Shell{Environment: []string{"=b"}}, "Invalid environment assignments", machine1.ErrInvalidArgs},
		{inside.Shell{Environment: []string{"1A=b"}}, "Invalid environment assignments", machine1.ErrInvalidArgs},
		{inside.Shell{Environment: []string{"A-B=c"}}, "Invalid environment assignments", machine1.ErrInvalidArgs},
		{inside.Shell{Environment: []string{"A=b", "A=c"}}, "Invalid environment assignments", machine1.ErrInvalidArgs},
		{inside.Shell{Environment: []string{"A=\xff"}}, "Invalid environment assignments", machine1.ErrInvalidArgs},
		{inside.Shell{Environment: many}, "Too many environment assignments", machine1.ErrLimitsExceeded},
	}
	for _, test := range tests {
		_, err := test.in.Normalize()
		if !errors.Is(err, test.kind) || err.Error() != test.text {
			t.Errorf("%.40q: got %v, want %q", test.in.User+test.in.Path, err, test.text)
		}
	}
}

// The program that is run without a path finds the shell of the user that it
// is given, however odd the name.
func TestLoginShell(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"root", "no such user", `"; echo harm; "`, "$(echo harm)"} {
		shell, err := inside.Shell{User: name}.Normalize()
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if shell.Path != "/bin/sh" || shell.Args[len(shell.Args)-1] != name || strings.Contains(shell.Args[2], name) {
			t.Errorf("%q: got %q %q", name, shell.Path, shell.Args)
		}
		if strings.Contains(shell.Args[2], "${") || strings.Contains(shell.Args[2], "$$") {
			t.Errorf("the service manager would change %q", shell.Args[2])
		}
		cmd := exec.Command(shell.Path, shell.Args[1:]...)
		cmd.Stdin = strings.NewReader("echo works\n")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "works") || strings.Contains(string(out), "harm") {
			t.Errorf("%q: got %q, %v", name, out, err)
		}
	}
}
