package filetree_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/filetree"
)

// A grower makes a tree of everything that can be in one.
type grower struct {
	tb    testing.TB
	r     *rand.Rand
	files []string // that can get another name
	n     int
}

func (g *grower) name() string {
	g.n++
	odd := []string{"", " ", "\n", "é", "\xff\xfe", "-", ".", "'\"", "日本"}
	return fmt.Sprintf("f%d%s", g.n, odd[g.r.IntN(len(odd))])
}

func (g *grower) grow(dir string, depth int) {
	for range 3 + g.r.IntN(12) {
		path := filepath.Join(dir, g.name())
		switch kind := g.r.IntN(12); {
		case kind < 5:
			g.regular(path)
			g.files = append(g.files, path)
		case kind == 5:
			must(g.tb, os.Symlink(filepath.Join("..", g.name()), path))
		case kind == 6 && len(g.files) > 0:
			must(g.tb, os.Link(g.files[g.r.IntN(len(g.files))], path))
			continue
		case kind == 7:
			modes := []uint32{unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR, unix.S_IFBLK}
			must(g.tb, unix.Mknod(path, modes[g.r.IntN(len(modes))]|0o600, int(unix.Mkdev(1, uint32(3+g.r.IntN(5))))))
			g.files = append(g.files, path)
		case kind > 7 && depth > 0:
			must(g.tb, os.Mkdir(path, 0o755))
			g.grow(path, depth-1)
		default:
			continue
		}
		g.dress(path)
	}
}

func (g *grower) regular(path string) {
	f, err := os.Create(path)
	must(g.tb, err)
	defer f.Close()
	sizes := []int{0, 1, 1000, 4096, 65536, 65537, 300000}
	content := make([]byte, sizes[g.r.IntN(len(sizes))])
	for i := range content {
		content[i] = byte(g.r.Uint32())
	}
	if g.r.IntN(3) > 0 {
		_, err = f.Write(content)
		must(g.tb, err)
		return
	}
	for range g.r.IntN(4) { // with holes
		_, err = f.WriteAt(content, int64(g.r.IntN(64))*65536)
		must(g.tb, err)
	}
	if g.r.IntN(2) == 0 {
		must(g.tb, f.Truncate(64*65536+int64(g.r.IntN(100000))))
	}
}

func (g *grower) dress(path string) {
	must(g.tb, unix.Lchown(path, g.r.IntN(3)*1000, g.r.IntN(3)*70000))
	info, err := os.Lstat(path)
	must(g.tb, err)
	if info.Mode()&os.ModeSymlink == 0 {
		must(g.tb, unix.Chmod(path, g.r.Uint32()&0o7777))
	}
	if info.Mode().IsRegular() || info.IsDir() {
		g.attributes(path, info.IsDir())
	}
	at := unix.Timespec{Sec: int64(g.r.IntN(2_000_000_000)) - 1000, Nsec: int64(g.r.IntN(1_000_000_000))}
	must(g.tb, unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW))
}

func (g *grower) attributes(path string, isDir bool) {
	set := func(name string, value []byte) {
		if err := unix.Setxattr(path, name, value, 0); err != nil && err != unix.EOPNOTSUPP && err != unix.ENOSPC {
			g.tb.Fatalf("%s: %v", name, err)
		}
	}
	switch g.r.IntN(5) {
	case 0:
		set("user.text", []byte("value"))
		set("user.empty", nil)
	case 1:
		set("user.long", make([]byte, 300+g.r.IntN(1500)))
	case 2:
		set("system.posix_acl_access", accessList(uint16(g.r.IntN(8))))
		if isDir {
			set("system.posix_acl_default", accessList(uint16(g.r.IntN(8))))
		}
	case 3:
		if !isDir {
			set("security.capability", []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
		}
		set("trusted.mark", []byte("x"))
	}
}

// accessList gives user 1000 some rights. Reference: acl(5).
func accessList(rights uint16) []byte {
	list := []byte{2, 0, 0, 0}
	for _, e := range []struct {
		tag, rights uint16
		id          uint32
	}{{1, 7, ^uint32(0)}, {2, rights, 1000}, {4, 5, ^uint32(0)}, {16, 7, ^uint32(0)}, {32, 1, ^uint32(0)}} {
		list = binary.LittleEndian.AppendUint16(list, e.tag)
		list = binary.LittleEndian.AppendUint16(list, e.rights)
		list = binary.LittleEndian.AppendUint32(list, e.id)
	}
	return list
}

// Whatever the tree, the copy is what cp -a makes.
func TestCopyIsLikeThatOfCp(t *testing.T) {
	t.Parallel()
	needRoot(t)
	places := map[string]func(testing.TB) string{
		"tmpfs": tmpfs,
		"ext4":  func(tb testing.TB) string { return loop(tb, "ext4") },
		"btrfs": func(tb testing.TB) string { return loop(tb, "btrfs") },
	}
	for fstype, place := range places {
		t.Run(fstype, func(t *testing.T) {
			t.Parallel()
			at, other := place(t), tmpfs(t)
			for round := range 4 {
				seed := rand.Uint64()
				source := filepath.Join(at, fmt.Sprint("source", round))
				must(t, os.Mkdir(source, 0o750))
				g := &grower{tb: t, r: rand.New(rand.NewPCG(seed, 0))}
				g.grow(source, 2)
				g.dress(source)
				for _, to := range []string{at, other} {
					like := filepath.Join(to, fmt.Sprint("like", round))
					ours := filepath.Join(to, fmt.Sprint("ours", round))
					if out, err := exec.Command("cp", "-a", "--sparse=auto", source, like).CombinedOutput(); err != nil {
						t.Fatalf("cp: %v %s", err, out)
					}
					must(t, copyPath(t, source, ours, filetree.CopyOptions{XAttrs: filetree.AllXAttrs}))
					if diff := cmp.Diff(describe(t, like), describe(t, ours)); diff != "" {
						t.Errorf("seed %d, from %s to %s (-cp +ours):\n%.3000s", seed, at, to, diff)
					}
				}
			}
		})
	}
}
