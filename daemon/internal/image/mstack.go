package image

import (
	"context"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const mstackSuffix = ".mstack"

// A stack is what the entries of a NAME.mstack directory say: what is mounted
// over what.
type stack struct {
	root, rw     bool
	layers       map[string]bool
	binds        map[string]bool // mount point: writable
	layerHasUsr  bool            // the last layer or rw has a directory /usr
	unacceptable bool            // systemd will not start it
}

// stackReadOnly reports whether nothing of the stack in dir can be written: it
// has neither root nor rw nor a writable bind mount. One that cannot be read,
// or that systemd would not start, counts as read-only.
//
// Reference: mstack.c, mstack_load, mstack_is_read_only.
func stackReadOnly(ctx context.Context, dir *os.File) (bool, error) {
	listing, err := openAt(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return true, err
	}
	defer listing.Close()
	s := stack{layers: map[string]bool{}, binds: map[string]bool{}}
	var failed error
	err = readNames(ctx, listing, func(e fs.DirEntry) {
		if s.unacceptable || failed != nil || isHidden(e.Name()) {
			return
		}
		ok, err := s.add(ctx, listing, e.Name())
		if exhausted(err) {
			failed = err
		}
		s.unacceptable = !ok || err != nil
	})
	if err != nil || failed != nil {
		return true, firstError(err, failed)
	}
	return s.unacceptable || s.readOnly(), nil
}

// add takes an entry of the stack. It is not ok if systemd refuses it.
func (s *stack) add(ctx context.Context, dir *os.File, name string) (ok bool, err error) {
	file, n, err := lookUp(dir, name)
	if err != nil {
		return false, err
	}
	defer func() { file.Close() }()
	part := name
	switch {
	case n.isDir() && strings.HasSuffix(name, versionsSuffix):
		p := layerPattern(name)
		part = p.name
		picked, _, err := p.pick(ctx, file)
		if err != nil {
			return false, err
		}
		file.Close()
		file = picked
	case n.isRegular():
		if part, ok = strings.CutSuffix(name, rawSuffix); !ok {
			return false, nil
		}
	case !n.isDir() && !n.isBlock():
		return false, nil
	}
	return s.mount(part, file), nil
}

// layerPattern is that of a part of a stack that has versions. Tries do not
// count there.
func layerPattern(name string) pattern {
	name = strings.TrimSuffix(name, versionsSuffix)
	if name, ok := strings.CutSuffix(name, rawSuffix); ok {
		return pattern{name: name, suffix: rawSuffix, fits: node.isRegular}
	}
	return pattern{name: name, fits: func(n node) bool { return n.isDir() || n.isBlock() }}
}

// mount takes a part of the stack by its name without suffixes. It is not ok
// if the name means nothing, or was there before.
func (s *stack) mount(part string, file *os.File) (ok bool) {
	switch {
	case part == "root":
		ok, s.root = !s.root, true
		return ok
	case part == "rw":
		ok, s.rw, s.layerHasUsr = !s.rw, true, hasUsr(file)
		return ok
	}
	kind, where, _ := strings.Cut(part, "@")
	switch {
	case where == "":
		return false
	case kind == "layer":
		ok = !s.layers[where]
		s.layers[where], s.layerHasUsr = true, hasUsr(file)
		return ok
	case kind == "bind", kind == "robind":
		mountPoint, ok := unescapePath(where)
		_, twice := s.binds[mountPoint]
		s.binds[mountPoint] = kind == "bind"
		return ok && !twice
	}
	return false
}

// readOnly looks at what of the stack is left to be seen and written.
func (s *stack) readOnly() bool {
	_, rootBound := s.binds["/"]
	_, usrBound := s.binds["/usr"]
	if rootBound || s.root && usrBound { // nothing of the layers can be seen
		clear(s.layers)
		s.rw = false
	}
	single := len(s.layers) == 1 && !s.rw || len(s.layers) == 0 && s.rw
	if s.root && single && !s.layerHasUsr { // root takes the single one's /usr
		return true
	}
	writable := s.rw || s.root && !rootBound
	for _, w := range s.binds {
		writable = writable || w
	}
	empty := len(s.layers) == 0 && !s.root && !rootBound // gets a tmpfs
	return !writable && !empty
}

func hasUsr(layer *os.File) bool {
	usr, err := openAt(layer, "usr", unix.O_PATH|unix.O_NOFOLLOW|unix.O_DIRECTORY)
	if err != nil {
		return false
	}
	usr.Close()
	return true
}

// unescapePath undoes what systemd-escape --path did. It is not ok if that
// gives no normalized path.
//
// Reference: unit-name.c, unit_name_path_unescape.
func unescapePath(s string) (string, bool) {
	if s == "-" {
		return "/", true
	}
	text := []byte("/")
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '-':
			text = append(text, '/')
		case s[i] == '\\' && strings.HasPrefix(s[i:], `\x`) && len(s) >= i+4:
			c, err := strconv.ParseUint(s[i+2:i+4], 16, 8)
			if err != nil || c == 0 {
				return "", false
			}
			text = append(text, byte(c))
			i += len(`\x00`) - 1
		case s[i] == '\\':
			return "", false
		default:
			text = append(text, s[i])
		}
	}
	where := string(text)
	return where, where == path.Clean(where) && where != "/"
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
