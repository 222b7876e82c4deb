package launch

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/machd/machd/pkg/nspawnfile"
)

func TestValuesAreAsInUnitFiles(t *testing.T) {
	t.Parallel()
	number := func(n uint64, err error) string {
		if err != nil {
			return "error"
		}
		return fmt.Sprint(n)
	}
	size := func(text string) string { return number(parseSize(text)) }
	span := func(text string) string { return number(parseTime(text)) }
	count := func(text string) string { return number(parseCount(text)) }
	signal := func(text string) string { n, err := parseSignal(text); return number(uint64(n), err) }
	truth := func(text string) string {
		yes, err := nspawnfile.ParseBool(text)
		if err != nil {
			return "error"
		}
		return fmt.Sprint(yes)
	}
	for _, c := range []struct {
		name        string
		parse       func(string) string
		text, value string
	}{
		{"size", size, "0", "0"}, {"size", size, "1048576", "1048576"}, {"size", size, "200M", "209715200"},
		{"size", size, "1.5G", "1610612736"}, {"size", size, "7B", "7"}, {"size", size, "2K", "2048"},
		{"size", size, "infinity", fmt.Sprint(uint64(math.MaxUint64))}, {"size", size, "18446744073709551615", "18446744073709551615"},
		{"size", size, "", "error"}, {"size", size, "M", "error"}, {"size", size, "-1", "error"}, {"size", size, "1e3", "error"},
		{"size", size, "16E", "error"}, {"size", size, "1M2", "error"}, {"size", size, "1..5G", "error"}, {"size", size, "NaN", "error"},
		{"time", span, "90", "90000000"}, {"time", span, "2min 5s", "125000000"}, {"time", span, "1h30m", "5400000000"},
		{"time", span, "100ms", "100000"}, {"time", span, "1.5s", "1500000"}, {"time", span, "5 min", "300000000"},
		{"time", span, "infinity", fmt.Sprint(uint64(math.MaxUint64))}, {"time", span, "", "error"}, {"time", span, "soon", "error"},
		{"time", span, "5 parsecs", "error"}, {"time", span, "-5s", "error"}, {"time", span, "9999999999999w", "error"},
		{"count", count, "16384", "16384"}, {"count", count, "many", "error"}, {"count", count, "-3", "error"}, {"count", count, "1K", "error"},
		{"signal", signal, "SIGTERM", "15"}, {"signal", signal, "term", "15"}, {"signal", signal, "SIGRTMIN+3", "37"}, {"signal", signal, "9", "9"},
		{"signal", signal, "RTMAX-1", "63"}, {"signal", signal, "SIGRTMIN", "34"}, {"signal", signal, "SIGRTMIN+40", "error"},
		{"signal", signal, "SIGRTMAX-60", "error"}, {"signal", signal, "0", "error"}, {"signal", signal, "65", "error"}, {"signal", signal, "SIGNOPE", "error"},
		{"bool", truth, "yes", "true"}, {"bool", truth, "OFF", "false"}, {"bool", truth, "maybe", "error"},
	} {
		if got := c.parse(c.text); got != c.value {
			t.Errorf("%s %q is %s, want %s", c.name, c.text, got, c.value)
		}
	}
}

func TestWordsSurviveQuoting(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":                         nil,
		"  a  b\tc ":               {"a", "b", "c"},
		`"two words" 'and "more"'`: {"two words", `and "more"`},
		`A="x y"z ""`:              {"A=x yz", ""},
		`back\ slash`:              {"back slash"},
	} {
		if got, err := splitWords(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q is %q, %v, want %q", text, got, err, want)
		}
	}
	if got, err := splitWords(`an "open quote`); err == nil {
		t.Errorf("an open quote is %q", got)
	}
	for _, word := range []string{"", "plain", "two words", `"'\`, "a;b", "ä"} {
		if got, err := splitWords(quoteWord(word)); err != nil || len(got) != 1 || got[0] != word {
			t.Errorf("%q became %q, %v", word, got, err)
		}
	}
}

func FuzzQuoteWord(f *testing.F) {
	f.Add(`a "b\c`)
	f.Fuzz(func(t *testing.T, word string) {
		if strings.ContainsAny(word, "\n\r") { // written as in C, which only PID 1 reads
			return
		}
		if got, err := splitWords(quoteWord(word)); err != nil || len(got) != 1 || got[0] != word {
			t.Errorf("%q became %q, %v", word, got, err)
		}
	})
}
