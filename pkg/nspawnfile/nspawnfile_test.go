package nspawnfile_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/pkg/nspawnfile"
)

// byHand is a file as people have them.
const byHand = `# kept by hand
[Exec]
PrivateUsers=no
Capability=CAP_NET_ADMIN CAP_SYS_ADMIN
Environment=A=1 \
# about the next
  B=2

[Files]
Bind = /srv:/mnt/srv
BindReadOnly=/etc/hostname:/mnt/hn

[Network]
VirtualEthernet=yes
[Network]
Port=8082:80
 ; udp
Port=udp:5353:53

[X-Machd]
Note=ours
[X-Other]
What=ever`

func TestEveryByteIsKept(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "\n", byHand, "\ufeff[Exec]\r\nBoot=yes\r\n", "[Exec", "=", "a\\", "a=\\\n#b", "x\x00\n"} {
		if got := nspawnfile.Parse(text).String(); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	f := nspawnfile.Parse(byHand)
	for _, c := range []struct {
		section, key string
		want         []string
	}{
		{"Network", "Port", []string{"8082:80", "udp:5353:53"}},
		{"Files", "Bind", []string{"/srv:/mnt/srv"}},
		{"Exec", "Environment", []string{"A=1    B=2"}},
		{"Exec", "Port", nil},
		{"X-Machd", "Note", []string{"ours"}},
	} {
		if diff := cmp.Diff(c.want, f.Values(c.section, c.key)); diff != "" {
			t.Errorf("[%s] %s (-want +got):\n%s", c.section, c.key, diff)
		}
	}
	f = nspawnfile.Parse("\ufeff[Exec]\nBoot=no\nBoot = yes \n[Files]\nBind=/a\nBind=\nBind=/b\n")
	if value, ok := f.Value("Exec", "Boot"); value != "yes" || !ok {
		t.Errorf("Boot is %q, %v", value, ok)
	}
	if value, ok := f.Value("Exec", "Hostname"); ok {
		t.Errorf("Hostname is %q", value)
	}
	if diff := cmp.Diff([]string{"/b"}, f.Values("Files", "Bind")); diff != "" {
		t.Errorf("what stands before an empty value counts:\n%s", diff)
	}
}

// Each change touches the lines it is about.
func TestChanges(t *testing.T) {
	t.Parallel()
	replace := func(old, new string) string { return strings.Replace(byHand, old, new, 1) }
	for name, c := range map[string]struct {
		change func(*nspawnfile.File)
		want   string
	}{
		"a value that it has":            {func(f *nspawnfile.File) { f.Set("Files", "Bind", "/srv:/mnt/srv") }, byHand},
		"another value":                  {func(f *nspawnfile.File) { f.Set("Files", "Bind", "/x") }, replace("Bind = /srv:/mnt/srv", "Bind = /x")},
		"one value for several":          {func(f *nspawnfile.File) { f.Set("Network", "Port", "1") }, replace("Port=8082:80\n ; udp\nPort=udp:5353:53", " ; udp\nPort=1")},
		"one value for several lines":    {func(f *nspawnfile.File) { f.Set("Exec", "Environment", "C=3") }, replace("A=1 \\\n# about the next\n  B=2", "C=3")},
		"one more value":                 {func(f *nspawnfile.File) { f.Add("Network", "Port", "9") }, replace("53:53\n", "53:53\nPort=9\n")},
		"a key that is not there":        {func(f *nspawnfile.File) { f.Set("Exec", "Boot", "yes") }, replace("  B=2\n", "  B=2\nBoot=yes\n")},
		"the last line has no end":       {func(f *nspawnfile.File) { f.Add("X-Other", "More", "1") }, byHand + "\nMore=1\n"},
		"a section that is not there":    {func(f *nspawnfile.File) { f.Add("X-New", "Key", "1") }, byHand + "\n\n[X-New]\nKey=1\n"},
		"a value less":                   {func(f *nspawnfile.File) { f.Remove("Network", "Port", "8082:80") }, replace("Port=8082:80\n", "")},
		"a key less":                     {func(f *nspawnfile.File) { f.Remove("Network", "Port", "") }, replace("Port=8082:80\n ; udp\nPort=udp:5353:53\n", " ; udp\n")},
		"a value less that is not there": {func(f *nspawnfile.File) { f.Remove("Network", "Port", "7") }, byHand},
	} {
		f := nspawnfile.Parse(byHand)
		c.change(f)
		if diff := cmp.Diff(c.want, f.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	f := nspawnfile.Parse("")
	f.Add("Exec", "Boot", "yes")
	f.Add("Exec", "Hostname", "x")
	if got := f.String(); got != "[Exec]\nBoot=yes\nHostname=x\n" {
		t.Errorf("an empty file became %q", got)
	}
}

func TestProblemsAreNamed(t *testing.T) {
	t.Parallel()
	if problems := nspawnfile.Parse(byHand).Problems(); problems != nil {
		t.Errorf("a good file has problems: %v", problems)
	}
	got := nspawnfile.Parse("Boot=yes\n[Exec]\nBot=yes\nLimitNOFILE=1\nX-Mine=1\nBoot\n[Exe]\nBoot=yes\n[Network\n[X-Machd]\nNote=1\nNot=1\n" +
		"Network=yes\nAddress=10.0.0.2/30\nGateway=10.0.0.1\nMAC=02:00:00:00:00:01\nPublish=8080:80\nExposeHost=5432\nPort=1\n").Problems()
	want := []nspawnfile.Problem{
		{Line: 1, Text: "Boot= is in no section"},
		{Line: 3, Text: "section [Exec] has no Bot="},
		{Line: 6, Text: `"Boot" is no assignment`},
		{Line: 7, Text: "there is no section [Exe]"},
		{Line: 9, Text: `"[Network" is no section`},
		{Line: 12, Text: "section [X-Machd] has no Not="},
		{Line: 19, Text: "section [X-Machd] has no Port="},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(byHand, "8080:80")
	f.Add("[Exec]\n", "x")
	f.Add("a=\\\n#\n;", "")
	f.Fuzz(func(t *testing.T, text, value string) {
		file := nspawnfile.Parse(text)
		if got := file.String(); got != text {
			t.Fatalf("%q became %q", text, got)
		}
		file.Problems()
		before := slices.Collect(file.Entries())
		if strings.Trim(value, " \t\r\n") != value || strings.ContainsAny(value, "\n\\") || value == "" {
			return
		}
		file.Add("Network", "Port", value)
		again := nspawnfile.Parse(file.String())
		if values := again.Values("Network", "Port"); len(values) == 0 || values[len(values)-1] != value {
			t.Fatalf("%q: added %q, and there is %q", text, value, values)
		}
		if after := slices.Collect(again.Entries()); len(after) != len(before)+1 {
			t.Fatalf("%q: %d entries became %d", text, len(before), len(after))
		}
		again.Set("Network", "Port", "only")
		last := nspawnfile.Parse(again.String())
		if got := last.Values("Network", "Port"); len(got) != 1 || got[0] != "only" {
			t.Fatalf("%q: set to one value, and there is %q", again.String(), got)
		}
	})
}
