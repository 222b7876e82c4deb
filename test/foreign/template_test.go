package foreign

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/machd/machd/test/live"
)

// template is where systemd's tests find the root of their containers.
const template = "/usr/share/TEST-13-NSPAWN-container-template"

// templatePrograms are what those tests run in their containers.
var templatePrograms = []string{"bash", "cat", "env", "grep", "ip", "ls", "mkdir", "mount", "rm", "sh", "sleep", "touch"}

// ipForThisKernel makes another kind of link that does nothing where the kernel
// has no dummies.
const ipForThisKernel = `#!/usr/bin/bash
if [[ "$*" == "link add "*" type dummy" ]]; then
    /usr/bin/ip.real "$@" && exit
    set -- link add "$3" type ifb
fi
exec /usr/bin/ip.real "$@"
`

// makeTemplate makes a root of this host's own programs, the libraries they
// need and an init that ends at once, as systemd's tests have it.
func makeTemplate(t *testing.T) {
	t.Helper()
	live.Must(t, os.RemoveAll(template))
	for _, dir := range []string{"dev", "etc", "proc", "root", "run", "sys", "tmp", "usr/bin", "usr/lib", "usr/lib64", "var/tmp"} {
		live.Must(t, os.MkdirAll(filepath.Join(template, dir), 0o755))
	}
	for name, target := range map[string]string{"bin": "usr/bin", "sbin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64",
		"usr/sbin": "bin", "etc/os-release": "../usr/lib/os-release"} {
		live.Must(t, os.Symlink(target, filepath.Join(template, name)))
	}
	live.Run(t, "cp", "/usr/lib/os-release", filepath.Join(template, "usr/lib"))
	for _, program := range templatePrograms {
		path := live.Run(t, "sh", "-c", "readlink -f $(command -v "+program+")")
		live.Run(t, "cp", path, filepath.Join(template, "usr/bin", program))
		for _, library := range libraries(t, path) {
			live.Must(t, os.MkdirAll(filepath.Join(template, filepath.Dir(library)), 0o755))
			live.Run(t, "cp", "-L", library, filepath.Join(template, library))
		}
	}
	ip := filepath.Join(template, "usr/bin/ip")
	live.Must(t, os.Rename(ip, ip+".real"))
	live.Must(t, os.WriteFile(ip, []byte(ipForThisKernel), 0o755))
	init := []byte("#!/usr/bin/env bash\necho hello\nip link\n")
	live.Must(t, os.WriteFile(filepath.Join(template, "usr/bin/init"), init, 0o755))
}

// libraries returns the files that the dynamic linker would load.
func libraries(t *testing.T, program string) []string {
	t.Helper()
	var paths []string
	for _, word := range strings.Fields(live.Run(t, "ldd", program)) {
		if strings.HasPrefix(word, "/") {
			paths = append(paths, word)
		}
	}
	return paths
}
