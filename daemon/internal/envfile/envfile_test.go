package envfile_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/daemon/internal/envfile"
)

func TestParse(t *testing.T) {
	t.Parallel()
	type list = envfile.List
	tests := map[string]struct {
		input string
		want  list
	}{
		"nothing":                             {"", nil},
		"blank lines and comments":            {"\n # a\n;b=c\n\t\n", nil},
		"a plain assignment":                  {"A=b", list{{"A", "b"}}},
		"spaces around key and value":         {"  A =  b c  \n", list{{"A", "b c"}}},
		"an empty value":                      {"A=\nB=c\n", list{{"A", ""}, {"B", "c"}}},
		"a line without equals sign":          {"junk\nA=b\n", list{{"A", "b"}}},
		"a comment sign inside a value":       {"A=b #c\n", list{{"A", "b #c"}}},
		"a second equals sign":                {"A=b=c\n", list{{"A", "b=c"}}},
		"carriage returns":                    {"A=b\r\nB=c\r\n", list{{"A", "b"}, {"B", "c"}}},
		"double quotes with escapes":          {`A="a\"b\\c\$d\` + "`" + `e\n"`, list{{"A", "a\"b\\c$d`e\\n"}}},
		"single quotes take all literally":    {`A='a\b"$'`, list{{"A", `a\b"$`}}},
		"quoted parts join":                   {`A="a b" 'c d'e f `, list{{"A", "a bc de f"}}},
		"a quote inside a bare part":          {`A=a"b"`, list{{"A", `a"b"`}}},
		"a backslash in a bare part":          {`A=a\\x2db\ `, list{{"A", `a\x2db `}}},
		"a continued bare line":               {"A=a\\\nb\nC=d", list{{"A", "ab"}, {"C", "d"}}},
		"a continued quoted line":             {"A=\"a\\\nb\nc\"\nC=d", list{{"A", "ab\nc"}, {"C", "d"}}},
		"a comment does not continue":         {"#a\\\nA=b", list{{"A", "b"}}},
		"an open quote ends with the file":    {"A=\"b\nC=d", list{{"A", "b\nC=d"}}},
		"an open escape ends with the file":   {`A=b\`, list{{"A", "b"}}},
		"an empty key":                        {"=b", list{{"", "b"}}},
		"a repeated key":                      {"A=b\nA=c", list{{"A", "b"}, {"A", "c"}}},
		"the unit name as 257 writes it":      {`SCOPE=machine-a\\x2db.scope`, list{{"SCOPE", `machine-a\x2db.scope`}}},
		"the unit name as 262 writes it":      {`SCOPE="machine-a\\x2db.scope"`, list{{"SCOPE", `machine-a\x2db.scope`}}},
		"interfaces as 257 writes them":       {"NETIF=3 4", list{{"NETIF", "3 4"}}},
		"interfaces as 262 writes them":       {`NETIF=" 3 4"`, list{{"NETIF", " 3 4"}}},
		"no line end after a closing quote":   {`A="b"C=d`, list{{"A", "bC=d"}}},
		"white space after a closing quote":   {"A=\"b \" \nC=d", list{{"A", "b "}, {"C", "d"}}},
		"text beyond ASCII is kept as it is":  {"A=Grüße", list{{"A", "Grüße"}}},
		"a tab ends no bare value in between": {"A=b\tc\t\n", list{{"A", "b\tc"}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := envfile.Parse([]byte(tt.input))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, tt.want); diff != "" {
				t.Errorf("got - want +\n%s", diff)
			}
		})
	}
}

func TestParseRefusesWhatIsNoText(t *testing.T) {
	t.Parallel()
	for _, input := range []string{"A=\x00", "A=\xff"} {
		if got, err := envfile.Parse([]byte(input)); err != envfile.ErrInvalid {
			t.Errorf("Parse(%q) = %v, %v, want ErrInvalid", input, got, err)
		}
	}
}

func TestLastAssignmentWins(t *testing.T) {
	t.Parallel()
	list, err := envfile.Parse([]byte("A=1\nB=2\nA=3\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := list.Get("A"); got != "3" || !ok {
		t.Errorf("Get(A) = %q, %v", got, ok)
	}
	if _, ok := list.Get("C"); ok {
		t.Error("Get(C) found something")
	}
	if diff := cmp.Diff(list.Map(), map[string]string{"A": "3", "B": "2"}); diff != "" {
		t.Errorf("got - want +\n%s", diff)
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"":                      "",
		"container":             "container",
		"/var/lib/machines/a":   "/var/lib/machines/a",
		`machine-a\x2db.scope`:  `"machine-a\\x2db.scope"`,
		" 3 4":                  `" 3 4"`,
		"a\"b`c$d":              "\"a\\\"b\\`c\\$d\"",
		"a*":                    `"a*"`,
		"it's":                  `"it's"`,
		"a\nb":                  "\"a\nb\"",
		"a\x7fb":                "\"a\x7fb\"",
		"Grüße":                 "Grüße",
		"systemd-nspawn@a.b":    "systemd-nspawn@a.b",
		"#a":                    "#a",
		"{a}~b=c:d,e%f^g]h+i-j": "{a}~b=c:d,e%f^g]h+i-j",
	}
	for value, want := range tests {
		if got := envfile.Quote(value); got != want {
			t.Errorf("Quote(%q) = %s, want %s", value, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("NAME=\"Debian\"\n#x\nA='b'\\\nc\n"))
	f.Add([]byte("SCOPE=machine-a\\\\x2db.scope\nNETIF=\" 3 4\"\r\n"))
	f.Fuzz(func(t *testing.T, input []byte) {
		list, err := envfile.Parse(input)
		if err != nil {
			return
		}
		var size int
		for _, a := range list {
			if strings.ContainsAny(a.Key, "=\n\r") {
				t.Errorf("key %q", a.Key)
			}
			size += len(a.Key) + len(a.Value)
		}
		if size > len(input) {
			t.Errorf("%d bytes out of %d", size, len(input))
		}
	})
}

func FuzzQuote(f *testing.F) {
	f.Add(`machine-a\x2db.scope`)
	f.Add(" 3 4")
	f.Add("a\\\nb\"'")
	f.Fuzz(func(t *testing.T, value string) {
		if strings.ContainsRune(value, 0) || !utf8.ValidString(value) {
			return
		}
		list, err := envfile.Parse([]byte("A=" + envfile.Quote(value) + "\nB=c\n"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(list, envfile.List{{"A", value}, {"B", "c"}}); diff != "" {
			t.Errorf("got - want +\n%s", diff)
		}
	})
}
