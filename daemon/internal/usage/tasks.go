package usage

import (
	"bytes"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// maxCgroups is how many cgroups are looked into where the kernel does not
// count. What is below a machine's cgroup is made by the machine.
const maxCgroups = 1024

// countTasks counts the threads in a cgroup and in all below it, for a kernel
// that does not. It returns nil if they are in too many cgroups, or change
// while they are counted.
func countTasks(dir int) *uint64 {
	c := counter{left: maxCgroups}
	if !c.add(dir) {
		return nil
	}
	return &c.tasks
}

type counter struct {
	tasks uint64
	left  int // cgroups that may still be looked into
}

// add counts what is in a cgroup; it does not close dir.
func (c *counter) add(dir int) bool {
	if c.left--; c.left < 0 {
		return false
	}
	threads, err := readFile(dir, "cgroup.threads")
	if err != nil {
		return errors.Is(err, unix.ENODEV) // it has gone, with all below it
	}
	c.tasks += uint64(bytes.Count(threads, []byte("\n")))
	below, err := children(dir)
	if err != nil {
		return false
	}
	for _, name := range below {
		if !c.addChild(dir, name) {
			return false
		}
	}
	return true
}

// addChild counts a cgroup that may have gone since it was seen.
func (c *counter) addChild(dir int, name string) bool {
	child, err := openDir(dir, name)
	if err == unix.ENOENT {
		return true
	}
	if err != nil {
		return false
	}
	defer unix.Close(child)
	return c.add(child)
}

// children returns the names of the cgroups directly below dir.
func children(dir int) ([]string, error) {
	own, err := openDir(dir, ".")
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(own), "cgroup")
	defer f.Close()
	entries, err := f.ReadDir(-1)
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, err
}
