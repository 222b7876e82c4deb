package generator

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestGenerate(t *testing.T) {
	t.Parallel()
	etc, run, to := t.TempDir(), t.TempDir(), t.TempDir()
	for path, text := range map[string]string{
		etc + "/web.nspawn":      "[Exec]\nBoot=yes\n[X-Machd]\nRequires=app\nAfter=log app web\n",
		etc + "/my-app.nspawn":   "[X-Machd]\nAfter=db\nAfter=log\n",
		etc + "/plain.nspawn":    "[Exec]\nAfter=db\n",
		etc + "/over.nspawn":     "[Exec]\n",
		run + "/over.nspawn":     "[X-Machd]\nAfter=db\n",
		run + "/taken.nspawn":    "[X-Machd]\nRequires=db\nRequires=\nAfter=no/name ../x\n",
		run + "/bad_name.nspawn": "[X-Machd]\nAfter=db\n",
		run + "/a.b.other":       "[X-Machd]\nAfter=db\n",
		run + "/dir.nspawn/file": "",
		etc + "/hostile.nspawn":  "[X-Machd]\nAfter=db\\\nExecStart=/bin/sh\n",
	} {
		write(t, path, text)
	}
	for name, target := range map[string]string{"masked": "/dev/null", "dangling": "/no/such"} {
		if err := os.Symlink(target, filepath.Join(etc, name+suffix)); err != nil {
			t.Fatal(err)
		}
	}
	if err := generate(to, []string{etc, "/no/such", run}); err != nil {
		t.Error(err)
	}
	got := map[string]string{}
	_ = filepath.WalkDir(to, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			text, _ := os.ReadFile(path)
			name, _ := filepath.Rel(to, path)
			got[name] = string(text)
		}
		return err
	})
	web := "# Of the settings of machine web.\n[Unit]\nAfter=machine@app.service machine@log.service\nRequires=machine@app.service\n"
	app := "# Of the settings of machine my-app.\n[Unit]\nAfter=machine@db.service machine@log.service\n"
	hostile := "# Of the settings of machine hostile.\n[Unit]\nAfter=machine@db.service\n"
	want := map[string]string{
		"machine@web.service.d/50-machd.conf":       web,
		"machine-web.service.d/50-machd.conf":       web,
		"machine@my-app.service.d/50-machd.conf":    app,
		`machine-my\x2dapp.service.d/50-machd.conf`: app,
		"machine@hostile.service.d/50-machd.conf":   hostile,
		"machine-hostile.service.d/50-machd.conf":   hostile,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("it wrote (-want +got):\n%s", diff)
	}
	if Run(nil) == nil {
		t.Error("it runs without being told where to write")
	}
}

func TestWhatCannotBeWrittenIsTold(t *testing.T) {
	t.Parallel()
	from := t.TempDir()
	write(t, filepath.Join(from, "web.nspawn"), "[X-Machd]\nAfter=db\n")
	file := filepath.Join(from, "file")
	write(t, file, "")
	if err := generate(file, []string{from}); err == nil {
		t.Error("no error")
	}
}
