package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Where they are in the project.
const (
	screenFile  = "screen.txt"
	pictureFile = "../../docs/machctl.svg"
)

// The picture is what is made of the screen, and the screen is one that was
// there: `make picture` makes both anew.
func TestThePictureIsOfTheScreen(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(screenFile)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := render(&b, parse(string(text))); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(pictureFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("%s is not of %s (-picture +screen); run make picture:\n%s", pictureFile, screenFile, diff)
	}
	for _, line := range session {
		if !strings.Contains(string(text), prompt+line+"\n") {
			t.Errorf("%s does not show %q; run make picture", screenFile, line)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	red := style{foreground: basic[1]}
	for name, c := range map[string]struct {
		text string
		want screen
	}{
		"plain":                    {"ab\n", screen{{{0, "ab", style{}}}}},
		"empty lines":              {"\n\n", screen{{}, {}}},
		"a colour and its end":     {"a\x1b[31mb\x1b[39mc\n", screen{{{0, "a", style{}}, {1, "b", red}, {2, "c", style{}}}}},
		"a style over lines":       {"\x1b[31ma\nb\x1b[0m\n", screen{{{0, "a", red}}, {{0, "b", red}}}},
		"several at once":          {"\x1b[1;4;7;41ma\x1b[m", screen{{{0, "a", style{background: basic[1], bold: true, underline: true, reverse: true}}}}},
		"ends of each":             {"\x1b[1;2;4;7;41m\x1b[22;24;27;49ma", screen{{{0, "a", style{}}}}},
		"bright ones":              {"\x1b[91ma\x1b[39;101mb", screen{{{0, "a", style{foreground: basic[9]}}, {1, "b", style{background: basic[9]}}}}},
		"256 colours":              {"\x1b[38;5;196ma\x1b[38;5;244;1mb", screen{{{0, "a", style{foreground: "#ff0000"}}, {1, "b", style{foreground: "#808080", bold: true}}}}},
		"16 million":               {"\x1b[48;2;1;2;255ma", screen{{{0, "a", style{background: "#0102ff"}}}}},
		"one that is cut off":      {"\x1b[38;5ma", screen{{{0, "a", style{}}}}},
		"characters of two cells":  {"日本\x1b[2mx", screen{{{0, "日本", style{}}, {4, "x", style{dim: true}}}}},
		"a sequence without a end": {"a\x1b[3", screen{{{0, "a", style{}}}}},
	} {
		if diff := cmp.Diff(c.want, parse(c.text), cmp.AllowUnexported(span{}, style{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestAPictureIsXML(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	text := "a <b> & \"c\" \x1b[7;31m日本\x1b[0m\n\n  \x1b[1;2;4mlast\n"
	if err := render(&b, parse(text)); err != nil {
		t.Fatal(err)
	}
	var shown strings.Builder
	d := xml.NewDecoder(strings.NewReader(b.String()))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, b.String())
		}
		if data, ok := token.(xml.CharData); ok {
			shown.WriteString(strings.TrimSuffix(string(data), "\n"))
		}
	}
	if want := `a <b> & "c"日本last`; strings.TrimSpace(shown.String()) != want {
		t.Errorf("it shows %q, want %q", shown.String(), want)
	}
	for _, want := range []string{`textLength="92.4"`, `x="116.8"`, `fill="` + ground + `"`, `fill="` + basic[1] + `"`, `font-weight="bold"`, `opacity=`, `text-decoration="underline"`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("there is no %s in\n%s", want, b.String())
		}
	}
}
