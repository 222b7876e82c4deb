package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNearest(t *testing.T) {
	t.Parallel()
	verbs := []string{"list", "list-images", "status", "show", "start", "stop", "restart", "set", "cat", "login", "logs"}
	for _, test := range []struct {
		word string
		want []string
	}{
		{"lst", []string{"list"}},
		{"strat", []string{"start"}},
		{"sotp", []string{"stop"}},
		{"statsu", []string{"status"}},
		{"list-imgaes", []string{"list-images"}},
		{"list-", []string{"list", "list-images"}},
		{"LOGIN", []string{"login"}},
		{"logn", []string{"login", "logs"}},
		{"frobnicate", nil},
		{"x", nil},
		{"", nil},
	} {
		if diff := cmp.Diff(test.want, nearest(test.word, verbs)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.word, diff)
		}
	}
}

func TestEdits(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "ab", 2}, {"ab", "", 2}, {"stop", "sotp", 1}, {"c8-ns", "c8-nz", 1}, {"kitten", "sitting", 3}, {"日本", "日木", 1},
	} {
		if got := edits(test.a, test.b); got != test.want {
			t.Errorf("from %q to %q there are %d edits, want %d", test.a, test.b, got, test.want)
		}
	}
}
