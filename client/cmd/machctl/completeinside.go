package main

import (
	"bufio"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	maxEntries  = 2000    // of a directory in a machine
	maxPasswd   = 1 << 20 // bytes of an /etc/passwd
	maxAskUsers = 8       // machines whose users are read
	firstUser   = 1000    // of those that are people
	nobody      = 65534
)

// programDirectories are where commands are looked for in a machine.
var programDirectories = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"}

// userAt completes NAME, and USER@NAME once letters of the user are typed.
func (l *line) userAt() candidates {
	user, _, found := strings.Cut(l.current, "@")
	machines := append(l.machines(), thisHost)
	c := candidates{list: machines}
	switch {
	case found:
		c.list = nil
		for _, m := range machines {
			c.list = append(c.list, candidate{user + "@" + m.word, m.what})
		}
	case l.current != "":
		c.list = append(c.list, l.usersOf(machines)...)
	}
	return c
}

// usersOf are the users of each machine, as USER@NAME.
func (l *line) usersOf(machines []candidate) []candidate {
	if !l.reach() {
		return nil
	}
	machines = machines[:min(len(machines), maxAskUsers)]
	found := make([][]candidate, len(machines))
	var asked sync.WaitGroup
	for i, m := range machines {
		asked.Go(func() {
			for _, user := range l.users(m.word) {
				found[i] = append(found[i], candidate{user + "@" + m.word, "user " + user})
			}
		})
	}
	asked.Wait()
	return slices.Concat(found...)
}

// users are root and the people of a machine.
func (l *line) users(machine string) (users []string) {
	file := l.open(machine, "/etc/passwd", unix.O_NONBLOCK)
	if file == nil {
		return []string{"root"}
	}
	defer file.Close()
	lines := bufio.NewScanner(io.LimitReader(file, maxPasswd))
	for lines.Scan() {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) < 3 {
			continue
		}
		uid, err := strconv.ParseUint(fields[2], 10, 32)
		if err == nil && (uid == 0 || uid >= firstUser && uid != nobody) && len(users) < maxEntries {
			users = append(users, fields[0])
		}
	}
	return users
}

// inside completes an absolute path in a machine.
func (l *line) inside(machine string) candidates {
	if l.current == "" {
		l.current = "/"
	}
	if !path.IsAbs(l.current) {
		return candidates{}
	}
	directory, _ := path.Split(l.current)
	file := l.open(machine, directory, unix.O_DIRECTORY)
	if file == nil {
		return candidates{}
	}
	defer file.Close()
	entries, _ := file.ReadDir(maxEntries)
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	var c candidates
	for _, e := range entries {
		name := directory + e.Name()
		switch {
		case !strings.HasPrefix(name, l.current):
		case e.IsDir():
			c.list, c.rest = append(c.list, candidate{word: name + "/"}), goesOn
		default:
			c.list = append(c.list, candidate{word: name})
		}
	}
	return c
}

// command completes a program in a machine, and paths behind it. A shell's must
// be an absolute path.
func (l *line) command(n int) candidates {
	_, machine, found := strings.Cut(l.args[0], "@")
	if !found {
		machine = l.args[0]
	}
	switch {
	case l.row.words[0] == wordImage: // it does not run yet
		return candidates{}
	case strings.HasPrefix(l.current, "/"), n == 1 && l.verb.Name() == "shell":
		return l.inside(machine)
	case n > 1:
		return candidates{}
	}
	var c candidates
	for _, directory := range programDirectories {
		file := l.open(machine, directory, unix.O_DIRECTORY)
		if file == nil {
			continue
		}
		names, _ := file.Readdirnames(maxEntries)
		_ = file.Close()
		for _, name := range names {
			c.list = append(c.list, candidate{word: name})
		}
	}
	slices.SortFunc(c.list, func(a, b candidate) int { return strings.Compare(a.word, b.word) })
	c.list = slices.Compact(c.list)
	return c
}

// open opens a file of a machine, or returns nil. Links in it lead nowhere else,
// whatever the machine has made of them.
func (l *line) open(machine, name string, flags int) *os.File {
	if !l.reach() {
		return nil
	}
	root, err := l.app.client.OpenRoot(l.ctx, machine)
	if err != nil {
		return nil
	}
	defer root.Close()
	fd, err := unix.Openat2(int(root.Fd()), name, &unix.OpenHow{
		Flags: uint64(unix.O_RDONLY | unix.O_CLOEXEC | flags), Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil
	}
	return os.NewFile(uintptr(fd), name)
}
