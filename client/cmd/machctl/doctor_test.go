package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAnyNetwork(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{"": false, "web.json": true, "switches": true, ".web.json123": false, "web.d": false, "none": false} {
		dir := filepath.Join(t.TempDir(), "network")
		if name != "none" {
			if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if got := anyNetwork(dir); got != want {
			t.Errorf("with %q it is %t", name, got)
		}
	}
}
