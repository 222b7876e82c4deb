package launch

import (
	"slices"
	"strings"
	"testing"

	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/nspawnfile"
)

// stockLine is the command line of the template.
const stockLine = "systemd-nspawn --quiet --keep-unit --boot --link-journal=try-guest --network-veth -U --settings=override --machine=m"

// Options win over the command line and the .nspawn file of a machine, and leave
// the rest of both as it was.
func TestOptionsWinOverSettings(t *testing.T) {
	t.Parallel()
	const trustedTail = " --settings=trusted"
	for name, c := range map[string]struct {
		settings string // "" for no file
		options  machd.StartOptions
		want     string
	}{
		"no file": {
			"", machd.StartOptions{Bind: []string{"/srv"}, Hostname: "h"},
			stockLine + " --bind=/srv --hostname=h",
		},
		"the file speaks of something else": {
			"[Network]\nVirtualEthernet=no\n", machd.StartOptions{Hostname: "h"},
			stockLine + " --hostname=h",
		},
		"the file speaks of the same": {
			"[Exec]\nHostname=f\n", machd.StartOptions{Hostname: "h"},
			strings.Replace(stockLine, " --settings=override", "", 1) + trustedTail + " --hostname=h",
		},
		"what else the file speaks of still wins": {
			"[Exec]\nHostname=f\nBoot=no\nPrivateUsers=no\n[Network]\nVirtualEthernet=no\n", machd.StartOptions{Hostname: "h"},
			"systemd-nspawn --quiet --keep-unit --link-journal=try-guest --machine=m" + trustedTail + " --hostname=h",
		},
		"mounts are added to those of the file": {
			"[Files]\nBind=/a\nBind=/b:/c\nBindReadOnly=/d\nTemporaryFileSystem=/t\n", machd.StartOptions{Bind: []string{"/srv"}},
			strings.Replace(stockLine, " --settings=override", "", 1) + trustedTail +
				" --bind=/a --bind=/b:/c --bind-ro=/d --tmpfs=/t --bind=/srv",
		},
		"variables are added to those of the file": {
			"[Exec]\nEnvironment=A=1 \"B=2 3\"\n", machd.StartOptions{Environment: []string{"A=2"}},
			strings.Replace(stockLine, " --settings=override", "", 1) + trustedTail + " --setenv=A=1|--setenv=B=2 3|--setenv=A=2",
		},
		"users": {
			"", machd.StartOptions{PrivateUsers: "no"},
			strings.Replace(stockLine, " -U", "", 1) + " --private-users=no",
		},
		"users with a first ID": {
			"[Files]\nPrivateUsersOwnership=chown\n", machd.StartOptions{PrivateUsers: "65536"},
			strings.NewReplacer(" -U", "", " --settings=override", "").Replace(stockLine) + trustedTail +
				" --private-users=65536 --private-users-ownership=auto",
		},
		"a command instead of the init": {
			"", machd.StartOptions{Command: []string{"/bin/sleep", "9"}},
			strings.Replace(stockLine, " --boot", "", 1) + " --as-pid2 -- /bin/sleep 9",
		},
		"a command that the file has, too": {
			"[Exec]\nBoot=no\nParameters=/bin/false\n", machd.StartOptions{Command: []string{"/bin/true"}},
			strings.NewReplacer(" --boot", "", " --settings=override", "").Replace(stockLine) + trustedTail + " --as-pid2 -- /bin/true",
		},
		"arguments of the init": {
			"", machd.StartOptions{Boot: "yes", Command: []string{"--unit=rescue.target"}},
			strings.Replace(stockLine, " --boot", "", 1) + " --boot -- --unit=rescue.target",
		},
		"an interface more": {
			"", machd.StartOptions{Arguments: []string{"--network-veth-extra=a:b", "-p", "80:80"}},
			stockLine + " --network-veth-extra=a:b --port=80:80",
		},
		"another network": {
			"", machd.StartOptions{Arguments: []string{"--network-namespace-path=/run/netns/n"}},
			strings.Replace(stockLine, " --network-veth", "", 1) + " --network-namespace-path=/run/netns/n",
		},
	} {
		line, err := readCommandLine(strings.Fields(stockLine))
		if err != nil {
			t.Fatal(err)
		}
		var s *settingsFile
		if c.settings != "" {
			s = &settingsFile{file: nspawnfile.Parse(c.settings)}
		}
		given, err := givenArguments(c.options, root{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		starts := c.options.Boot != "" || len(c.options.Command) > 0
		line.overrule(given, starts, s)
		if starts {
			line.payload = c.options.Command
		}
		var want []string
		for i, part := range strings.Split(c.want, "|") {
			if i == 0 || !strings.HasPrefix(part, "--setenv=B") {
				want = append(want, strings.Fields(part)...)
				continue
			}
			want = append(want, part) // with a space in it
		}
		if got := line.argv(); !slices.Equal(got, want) {
			t.Errorf("%s:\n got %q\nwant %q", name, got, want)
		}
	}
}

// A file beside an image is believed only if the template says so.
func TestUntrustedSettingsAreNotRaised(t *testing.T) {
	t.Parallel()
	for mode, mounts := range map[string]bool{"override": true, "trusted": true, "yes": false, "no": false} {
		line, err := readCommandLine([]string{"systemd-nspawn", "--settings=" + mode})
		if err != nil {
			t.Fatal(err)
		}
		s := &settingsFile{file: nspawnfile.Parse("[Files]\nBind=/etc\n")}
		line.overrule([]argument{option("bind", "/srv")}, false, s)
		if got := slices.Contains(line.argv(), "--bind=/etc"); got != mounts {
			t.Errorf("--settings=%s: the file's mount is there: %v", mode, got)
		}
		if changed := !slices.Contains(line.argv(), "--settings="+mode); changed != (mode == "override") {
			t.Errorf("--settings=%s became %q", mode, line.argv())
		}
	}
}

func TestCommandLinesAreRead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		words   string
		names   string
		payload string
	}{
		{"-bqD /x -M m --bind /a --bind=/b sh -c x", "boot quiet directory machine bind bind", "sh -c x"},
		{"-xU --private-users --volatile -- -b", "ephemeral private-users private-users volatile", "-b"},
		{"-i/disk --user=u", "image user", ""},
	} {
		line, err := readCommandLine(append([]string{"systemd-nspawn"}, strings.Fields(c.words)...))
		var names []string
		for _, o := range line.options {
			names = append(names, o.name)
		}
		if err != nil || strings.Join(names, " ") != c.names || strings.Join(line.payload, " ") != c.payload {
			t.Errorf("%q: %q, %q, %v", c.words, names, line.payload, err)
		}
	}
	for _, words := range []string{"--nope", "-k", "--bind", "-D", "--boot=yes"} {
		if _, err := readCommandLine([]string{"systemd-nspawn", words}); err == nil {
			t.Errorf("%q is taken", words)
		}
	}
}
