package link

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// procSys is where the kernel has its switches. Below net it shows those of the
// namespace that the thread is in which looks.
const procSys = "/proc/sys"

// conf4 and conf6 name a switch of a link, below procSys.
func conf4(link, file string) string { return "net/ipv4/conf/" + link + "/" + file }
func conf6(link, file string) string { return "net/ipv6/conf/" + link + "/" + file }

// WithoutIPv6 says why a link can have no IPv6, "" if it can.
func (s *Space) WithoutIPv6(link string) (why string) {
	err := s.inside(func() error {
		why = withoutIPv6(link)
		return nil
	})
	if err != nil {
		return err.Error()
	}
	return why
}

// sysctl returns the value of a switch. The error wraps fs.ErrNotExist if the
// kernel does not have it, or not the link.
func (s *Space) sysctl(path string) (value string, err error) {
	err = s.inside(func() (err error) {
		value, err = readSwitch(path)
		return err
	})
	return value, err
}

func (s *Space) setSysctl(path, value string) error {
	return s.inside(func() error { return writeSwitch(path, value) })
}

// The following are about the namespace that the calling thread is in.

func withoutIPv6(link string) string {
	if _, err := os.Stat(filepath.Join(procSys, "net/ipv6/conf/all")); errors.Is(err, fs.ErrNotExist) {
		return "the kernel was started without IPv6"
	}
	path := conf6(link, "disable_ipv6")
	off, err := readSwitch(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("link %s has no IPv6, perhaps because its MTU is below 1280", link)
	case err == nil && off != "0":
		return fmt.Sprintf("%s is %s", dotted(path), off)
	}
	return ""
}

func readSwitch(path string) (string, error) {
	text, err := os.ReadFile(filepath.Join(procSys, path))
	return strings.TrimSpace(string(text)), err
}

func writeSwitch(path, value string) error {
	f, err := os.OpenFile(filepath.Join(procSys, path), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// dotted returns a switch's path as sysctl writes it. In the names of links it
// has the dots and slashes the other way round.
func dotted(path string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '/':
			return '.'
		case '.':
			return '/'
		}
		return r
	}, path)
}
