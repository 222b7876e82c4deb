package machd_test

import (
	"strings"
	"testing"

	"github.com/machd/machd/pkg/machd"
)

func TestSources(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]machd.Source{
		"debian:13":             {Kind: machd.SourceDebian, Name: "13"},
		"ubuntu:24.04":          {Kind: machd.SourceUbuntu, Name: "24.04"},
		"centos-stream:9":       {Kind: machd.SourceCentOS, Name: "9"},
		"oci:quay.io/a/b:1":     {Kind: machd.SourceOCI, Name: "quay.io/a/b:1"},
		"machine:c8-ns":         {Kind: machd.SourceMachine, Name: "c8-ns"},
		"https://h/a.tar.xz?x=": {Kind: machd.SourceURL, Name: "https://h/a.tar.xz?x="},
		"file":                  {Kind: machd.SourceFile},
	} {
		got, err := machd.ParseSource(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%q is %+v, %q: %v", text, got, got, err)
		}
	}
	for _, text := range []string{"", "debian", "debian:", "debian:--foreign", "debian:../x", "debian:Trixie", "machine:a/b", "ftp://h/a", "file:///a", "other:1"} {
		if got, err := machd.ParseSource(text); err == nil {
			t.Errorf("%q is %+v", text, got)
		}
	}
}

func TestNamesOfSnapshots(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{{"web", "one"}, {"a@b", "2026-11-29T07:00"}, {"a.b", "x.y"}} {
		image, snapshot, ok := machd.CutSnapshot(machd.SnapshotImage(c[0], c[1]))
		if !ok || image != c[0] || snapshot != c[1] {
			t.Errorf("%q: %q, %q, %t", c, image, snapshot, ok)
		}
	}
	for _, name := range []string{"web@one", ".web", ".@one", ".web@", ".web@.x", ".web@" + strings.Repeat("x", 65)} {
		if image, snapshot, ok := machd.CutSnapshot(name); ok {
			t.Errorf("%q is snapshot %q of %q", name, snapshot, image)
		}
	}
}
