package main

import (
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	manual = "../../../man/machd.8"
	policy = "../../../dbus-policy/org.machd.policy"
)

// The manual is written by hand, so it is compared with what there is.
func TestTheManualHasTheOptions(t *testing.T) {
	t.Parallel()
	page := read(t, manual)
	_, synopsis, _ := strings.Cut(page, ".Sh SYNOPSIS\n")
	synopsis, _, _ = strings.Cut(synopsis, ".Sh ")
	_, list, _ := strings.Cut(page, ".Ss Options\n")
	list, _, _ = strings.Cut(list, ".El\n")

	var want, described []string
	new(options).flags().VisitAll(func(f *flag.Flag) {
		text := f.Name
		argument, usage := flag.UnquoteUsage(f)
		if argument != "" {
			text += "=" + argument
		}
		want = append(want, text)
		described = append(described, plain(usage))
	})
	for where, of := range map[string]string{"SYNOPSIS": synopsis, "Options": list} {
		got := optionsIn(of)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s under %s (-the options +the page):\n%s", manual, where, diff)
		}
	}
	if diff := cmp.Diff(described, textsIn(list)); diff != "" {
		t.Errorf("%s says of the options (-they +the page):\n%s", manual, diff)
	}
}

func TestTheManualNamesTheActions(t *testing.T) {
	t.Parallel()
	_, rights, _ := strings.Cut(read(t, manual), ".Ss Who may do what\n")
	rights, _, _ = strings.Cut(rights, ".Ss ")
	for _, family := range []string{"org.freedesktop.machine1", "org.machd"} {
		if !strings.Contains(rights, ".Li "+family+" ") {
			t.Errorf("%s does not name the actions of %s", manual, family)
		}
	}
	actions := regexp.MustCompile(`<action id="org\.machd\.([a-z-]+)">`).FindAllStringSubmatch(read(t, policy), -1)
	if len(actions) == 0 {
		t.Fatalf("there is no action in %s", policy)
	}
	for _, action := range actions {
		if !regexp.MustCompile(`(?m)^\.Li ` + action[1] + `( |$)`).MatchString(rights) {
			t.Errorf("%s does not name the action org.machd.%s", manual, action[1])
		}
	}
}

// optionsIn returns the options that a piece of the page names, with the name of
// their value.
func optionsIn(page string) (options []string) {
	for _, match := range regexp.MustCompile(`Fl -([a-z-]+)(?: Ns = Ns Ar ([a-z]+))?`).FindAllStringSubmatch(page, -1) {
		option := match[1]
		if match[2] != "" {
			option += "=" + match[2]
		}
		options = append(options, option)
	}
	return options
}

// textsIn returns what a list of the page says of each item.
func textsIn(list string) (texts []string) {
	for _, item := range strings.Split(list, "\n.It ")[1:] {
		_, text, _ := strings.Cut(item, "\n")
		texts = append(texts, plain(text))
	}
	return texts
}

// plain makes of a text of the page, and of one of the program's, the same words.
func plain(text string) string {
	text = regexp.MustCompile(`(?m)^\.[A-Z][a-z] `).ReplaceAllString(text, "")
	text = strings.ReplaceAll(strings.ReplaceAll(text, " ,", ","), `"`, "")
	return strings.TrimSuffix(strings.ToLower(strings.Join(strings.Fields(text), " ")), ".")
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
