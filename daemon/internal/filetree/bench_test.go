package filetree_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/machd/machd/daemon/internal/filetree"
)

// BenchmarkBesideCp copies and removes trees by turns with cp(1) and rm(1), and
// reports what share of their time it takes.
func BenchmarkBesideCp(b *testing.B) {
	for _, tree := range []struct {
		name              string
		dirs, files, size int // files of each directory, and bytes of each file
	}{
		{"20,000 files in 200 directories", 200, 100, 2000},
		{"20,000 files in one directory", 1, 20_000, 2000},
		{"one file of 512 MiB", 1, 1, 512 << 20},
	} {
		b.Run(tree.name, func(b *testing.B) {
			source, place := filepath.Join(b.TempDir(), "tree"), b.TempDir()
			content := strings.Repeat("content ", tree.size/8)
			for i := range tree.dirs * tree.files {
				dir := filepath.Join(source, fmt.Sprint(i%tree.dirs))
				if i < tree.dirs {
					must(b, os.MkdirAll(dir, 0o755))
				}
				must(b, os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte(content), 0o644))
			}
			took := map[string]time.Duration{}
			measure := func(what string, do func() error) {
				begin := time.Now()
				must(b, do())
				took[what] += time.Since(begin)
			}
			o := filetree.CopyOptions{XAttrs: filetree.AllXAttrs, SameMount: true}
			for b.Loop() {
				measure("copy", func() error { return copyPath(b, source, filepath.Join(place, "copy"), o) })
				measure("cp", func() error { return exec.Command("cp", "-a", source, filepath.Join(place, "cp")).Run() })
				measure("remove", func() error { return filetree.Remove(b.Context(), openDir(b, place), "copy") })
				measure("rm", func() error { return exec.Command("rm", "-rf", filepath.Join(place, "cp")).Run() })
			}
			b.ReportMetric(took["copy"].Seconds()/took["cp"].Seconds(), "of-cp")
			b.ReportMetric(took["remove"].Seconds()/took["rm"].Seconds(), "of-rm")
			b.ReportMetric(0, "ns/op")
		})
	}
}
