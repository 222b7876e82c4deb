package filetree

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// A measured directory is one whose content is being looked at.
type measured struct {
	parent *measured // nil: that Usage was given
	name   string
	fd     int // -1 while it is given up
	id     fileID
	list   list
	saved  int // of maxSaved, bytes
}

// A measure is one call of Usage.
type measure struct {
	at     *measured
	open   int // directories
	saved  int // of maxSaved, bytes
	bytes  uint64
	linked map[fileID]bool // of several names, counted
}

// Usage returns how many bytes of the disk name in dir takes, which may be open
// with O_PATH, with all below it. A file of several names counts once. Names may
// come and go meanwhile, but name itself must be there. Errors wrap the errno and
// name the path in the tree, starting with name.
func Usage(ctx context.Context, dir *os.File, name string) (bytes uint64, err error) {
	if err := checkName(name); err != nil {
		return 0, err
	}
	defer runtime.KeepAlive(dir)
	root := &measured{fd: int(dir.Fd())}
	m := &measure{at: root, linked: map[fileID]bool{}}
	defer m.close()
	failing, err := name, m.look(name)
	for err == nil && m.at != root {
		failing, err = m.step(ctx)
	}
	if err != nil {
		return 0, fmt.Errorf("cannot measure %s: %w", shown(failing), err)
	}
	return m.bytes, nil
}

func (m *measure) close() {
	for ; m.at.parent != nil; m.at = m.at.parent {
		m.at.close()
	}
}

func (d *measured) close() {
	if d.fd >= 0 {
		unix.Close(d.fd)
		d.list.drop()
		d.fd, d.list = -1, list{fd: -1}
	}
}

// path names an entry of d, starting with the top.
func (d *measured) path(name string) string {
	// Only the end of a long path is shown.
	for ; d.parent != nil && len(name) <= maxShown; d = d.parent {
		name = d.name + "/" + name
	}
	return name
}

// step looks at one entry of the directory that m is at, or leaves it. It returns
// the path of what it could not look at.
func (m *measure) step(ctx context.Context) (failing string, err error) {
	d := m.at
	e, ok, err := d.list.next()
	if err == nil {
		err = context.Cause(ctx)
	}
	if err == nil && ok {
		err = m.look(e.name)
		if err == nil || err == unix.ENOENT { // gone meanwhile
			return "", nil
		}
		return d.path(e.name), err
	}
	if err == nil {
		err = m.leave()
	}
	if err != nil {
		return d.parent.path(d.name), err
	}
	return "", nil
}

// look counts name, and goes into it if it is a directory.
func (m *measure) look(name string) error {
	var stat unix.Stat_t
	if err := unix.Fstatat(m.at.fd, name, &stat, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	const block = 512 // of Stat_t.Blocks, bytes
	if typeOf(&stat) == unix.S_IFDIR {
		m.bytes += uint64(stat.Blocks) * block
		return m.enter(name)
	}
	if stat.Nlink > 1 {
		if m.linked[idOf(&stat)] {
			return nil
		}
		if len(m.linked) < maxLinks {
			m.linked[idOf(&stat)] = true
		}
	}
	m.bytes += uint64(stat.Blocks) * block
	return nil
}

func (m *measure) enter(name string) error {
	if m.open >= maxOpen {
		if err := m.giveUp(); err != nil {
			return err
		}
	}
	var stat unix.Stat_t
	fd, err := openAndStat(m.at.fd, name, openDir, &stat)
	if err == unix.ENOTDIR || err == unix.ELOOP {
		return unix.ENOENT // replaced meanwhile
	}
	if err != nil {
		return err
	}
	m.at = &measured{parent: m.at, name: name, fd: fd, id: idOf(&stat), list: list{fd: fd}}
	m.open++
	return nil
}

// giveUp closes the upper half of the directories that m is in, and keeps what is
// left to look at there.
func (m *measure) giveUp() error {
	var held []*measured
	for d := m.at.parent; d.parent != nil && d.fd >= 0; d = d.parent {
		held = append(held, d)
	}
	for _, d := range held[len(held)/2:] {
		used, err := d.list.save(maxSaved - m.saved)
		d.saved += used
		m.saved += used
		if err != nil {
			return err
		}
		unix.Close(d.fd)
		d.fd = -1
		m.open--
	}
	return nil
}

// leave goes back to the parent of the directory that m is at.
func (m *measure) leave() error {
	d, parent := m.at, m.at.parent
	if parent.fd < 0 {
		fd, err := openSame(d.fd, "..", openDir, parent.id)
		if err != nil {
			return err
		}
		parent.fd = fd
		m.open++
	}
	m.saved -= d.saved
	d.close()
	m.open--
	m.at = parent
	return nil
}
