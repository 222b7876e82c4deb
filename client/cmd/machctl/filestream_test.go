package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// endlessArchive writes an archive of many small files whose names begin with prefix,
// until nobody reads on.
func endlessArchive(w io.WriteCloser, prefix string) {
	defer w.Close()
	archive := tar.NewWriter(w)
	for i := 0; ; i++ {
		name := fmt.Sprintf("%s/%d/%d", prefix, i/100, i)
		if archive.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Typeflag: tar.TypeReg, Format: tar.FormatGNU}) != nil {
			return
		}
	}
}

// A signal ends a copy in the middle of an archive, and nothing of it is left.
func TestASignalLeavesNothingOfAnArchive(t *testing.T) {
	t.Parallel()
	w := worldWithMachine(t)
	prefix := filepath.Base(filepath.Dir(t.TempDir()))
	left := func() []string {
		found, err := filepath.Glob(filepath.Join(streamDir, ".machctl-*", "files", prefix))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		cmd := command(w, "copy-to", "c8-ns", "-", "/srv")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go endlessArchive(in, prefix)
		deadline := time.Now().Add(patience)
		for {
			found := left()
			if len(found) > 0 {
				if _, err := os.Stat(filepath.Join(found[0], "20")); err == nil {
					break
				}
			}
			if time.Now().After(deadline) {
				cmd.Process.Kill()
				t.Fatalf("nothing is unpacked: %s", stderr.String())
			}
			time.Sleep(10 * time.Millisecond) // a directory tells nobody that it fills
		}
		_ = cmd.Process.Signal(signal)
		wantExit(t, cmd, exitSignal+int(signal))
		if stderr.Len() > 0 {
			t.Errorf("%v: it says %q", signal, stderr.String())
		}
		for _, dir := range left() {
			t.Errorf("%v: %s is left", signal, dir)
			_ = os.RemoveAll(filepath.Dir(filepath.Dir(dir)))
		}
	}
}
