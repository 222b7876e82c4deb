package image

import (
	"cmp"
	"strings"
	"testing"
)

func TestVersionsInOrder(t *testing.T) {
	t.Parallel()
	// Each line from the oldest to the newest, versions that are as old as one
	// another with '=' between them. systemd-analyze compare-versions agrees.
	lines := []string{
		"~1 a b 1",
		"1~rc1 1~rc2 1 1- 1-1 1^post 1.1 1.9 1.10 1a 2",
		"122.1 123~rc1-1 123 123-a 123-a.1 123-1 123-1.1 123^post1 123.a-1 123.1-1 123a-1 124-1",
		"001=1=01 002 010 100",
		"a=a! aa ab b",
		"247.2-3.1.fc33 247.2-3.1.fc34 247.2-4",
		"1=1_ 1_2=1!2 1_3",
		"1-^1 1-~",
		strings.Repeat("9", 100) + " 1" + strings.Repeat("0", 100),
	}
	for _, line := range lines {
		fields := strings.Fields(line)
		for i, x := range fields {
			for j, y := range fields {
				for a := range strings.SplitSeq(x, "=") {
					for b := range strings.SplitSeq(y, "=") {
						if got := compareVersions(a, b); got != cmp.Compare(i, j) {
							t.Errorf("compare %q with %q: got %d, want %d", a, b, got, cmp.Compare(i, j))
						}
					}
				}
			}
		}
	}
}

func FuzzCompareVersions(f *testing.F) {
	f.Add("1.2~rc1", "1.2")
	f.Add("1-^", "1-~")
	f.Add("007a", "7.a")
	f.Add("", "~")
	f.Fuzz(func(t *testing.T, a, b string) {
		if got := compareVersions(a, a); got != 0 {
			t.Errorf("%q is not as old as itself: %d", a, got)
		}
		if there, back := compareVersions(a, b), compareVersions(b, a); there != -back {
			t.Errorf("%q with %q: %d, and back %d", a, b, there, back)
		}
		if strings.TrimFunc(a, isDigit) == "" && a != "" {
			if got := compareVersions(a+"~"+b, a); got >= 0 {
				t.Errorf("%q is not older than %q: %d", a+"~"+b, a, got)
			}
		}
	})
}

func TestVersionFileNames(t *testing.T) {
	t.Parallel()
	raw := pattern{name: "a", suffix: ".raw", tries: true}
	dir := pattern{name: "a", tries: true}
	untried := pattern{name: "a"}
	any, first := len(localArchitectures["amd64"]), 0
	none := uint64(unlimited)
	tests := []struct {
		pattern
		file         string
		want         string // the version, "" for no version of the image
		architecture int
		left, done   uint64
	}{
		{raw, "a_1.raw", "1", any, none, none},
		{raw, "a_1_x86-64.raw", "1", first, none, none},
		{raw, "a_1_x86.raw", "1", first + 1, none, none},
		{raw, "a_1_arm64.raw", "", 0, 0, 0},
		{raw, "a_1_mine.raw", "1", any, none, none},
		{raw, "a_x86-64.raw", "x86-64", any, none, none},
		{raw, "a_1+3.raw", "1", any, 3, 0},
		{raw, "a_1+3-2.raw", "1", any, 3, 2},
		{raw, "a_1_x86-64+0-5.raw", "1", first, 0, 5},
		{raw, "a_1+010.raw", "1", any, 8, 0},
		{raw, "a_1+08.raw", "", 0, 0, 0},
		{raw, "a_1+4294967295.raw", "1", any, none, 0},
		{raw, "a_1+4294967296.raw", "", 0, 0, 0},
		{raw, "a_1+.raw", "", 0, 0, 0},
		{raw, "a_1+-1.raw", "", 0, 0, 0},
		{raw, "a_1+1-.raw", "", 0, 0, 0},
		{raw, "a_1+1-2-3.raw", "", 0, 0, 0},
		{raw, "a_1+1_x86-64.raw", "", 0, 0, 0},
		{raw, "a_1,2.raw", "", 0, 0, 0},
		{raw, "a_1_2_3.raw", "", 0, 0, 0},
		{raw, "a_1 2.raw", "", 0, 0, 0},
		{raw, "a_ü.raw", "", 0, 0, 0},
		{raw, "a_.raw", "", 0, 0, 0},
		{raw, "a_..raw", "", 0, 0, 0},
		{raw, "a.raw", "", 0, 0, 0},
		{raw, "ab_1.raw", "", 0, 0, 0},
		{raw, "a_1", "", 0, 0, 0},
		{dir, "a_1.raw", "1.raw", any, none, none},
		{dir, "a_2~rc1^3-4", "2~rc1^3-4", any, none, none},
		{untried, "a_1+3", "", 0, 0, 0},
	}
	for _, test := range tests {
		got, ok := test.parse(test.file)
		if ok != (test.want != "") || got.number != test.want {
			t.Errorf("%q: version %q, %v; want %q", test.file, got.number, ok, test.want)
			continue
		}
		if ok && (got.architecture != test.architecture || got.left != test.left || got.done != test.done) {
			t.Errorf("%q: architecture %d, tries %d and %d; want %d, %d and %d", test.file,
				got.architecture, got.left, got.done, test.architecture, test.left, test.done)
		}
	}
}

func TestBestVersion(t *testing.T) {
	t.Parallel()
	p := pattern{name: "a", tries: true}
	lines := []string{ // from the worst to the best
		"a_1+0 a_2+0-3 a_9+0 a_0.9 a_1+1 a_1+3-2 a_1+3-1 a_1+3 a_1",
		"a_1 a_2_x86 a_2_x86-64 a_3",
		"a_2 a_2_x86 a_2_x86-64",
		"a_001 a_01 a_1",
	}
	for _, line := range lines {
		files := strings.Fields(line)
		for i := range files {
			for j := range files {
				a, okA := p.parse(files[i])
				b, okB := p.parse(files[j])
				if got := a.compare(b); !okA || !okB || got != cmp.Compare(i, j) {
					t.Errorf("%s against %s: %d, want %d", files[i], files[j], got, cmp.Compare(i, j))
				}
			}
		}
	}
}

func FuzzVersionFileName(f *testing.F) {
	for _, file := range []string{"a_1_x86-64+3-1.raw", "a_1+08.raw", "a__.raw", "a_.raw", "b", "a_+.raw"} {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file string) {
		v, ok := pattern{name: "a", suffix: ".raw", tries: true}.parse(file)
		if !ok {
			return
		}
		if v.file != file || v.number == "" || strings.ContainsAny(v.number, "/_+\x00") {
			t.Errorf("%q: version %q", file, v.number)
		}
		if v.left > unlimited || v.done > unlimited || v.compare(v) != 0 {
			t.Errorf("%q: %+v", file, v)
		}
	})
}
