package client

import (
	"context"
	"fmt"
	"os"

	"github.com/machd/machd/pkg/machine1"
)

// A Verification says how a download is checked.
type Verification string

// The ways to check a download, with files that lie beside it on the server.
const (
	VerifySignature Verification = "signature" // SHA256SUMS or .sha256, signed by a key that this host trusts
	VerifyChecksum  Verification = "checksum"  // the same without the signature
	VerifyNothing   Verification = "no"
)

// A Compression is how an exported image is packed.
type Compression string

// The compressions. Zstd needs systemd 258 or later.
const (
	Uncompressed Compression = "uncompressed"
	Xz           Compression = "xz"
	Gzip         Compression = "gzip"
	Bzip2        Compression = "bzip2"
	Zstd         Compression = "zstd"
)

// Flags of systemd-importd's methods.
const (
	importForce = uint64(1) << iota
	importReadOnly
	importKeepDownload
)

// PullOptions say what is done about a download. The zero value is an image of
// a machine that is checked by signature.
type PullOptions struct {
	Class    ImageClass   // "" is ClassMachine
	Verify   Verification // "" is VerifySignature
	Force    bool         // replace an image of that name
	ReadOnly bool         // make the image read-only
	// KeepDownload keeps the download beside the image as a hidden image, which
	// saves the next download of the same URL.
	KeepDownload bool
}

func (o PullOptions) flags() uint64 {
	return flagsOf(o.Force, o.ReadOnly, o.KeepDownload)
}

// ImportOptions say what is done about an import.
type ImportOptions struct {
	Class    ImageClass // "" is ClassMachine
	Force    bool       // replace an image of that name
	ReadOnly bool       // make the image read-only
}

// ExportOptions say how an image is exported.
type ExportOptions struct {
	Class  ImageClass  // "" is ClassMachine
	Format Compression // "" is Uncompressed
}

func flagsOf(force, readOnly, keepDownload bool) (flags uint64) {
	for flag, set := range map[uint64]bool{importForce: force, importReadOnly: readOnly, importKeepDownload: keepDownload} {
		if set {
			flags |= flag
		}
	}
	return flags
}

func (class ImageClass) orMachine() string {
	if class == "" {
		class = ClassMachine
	}
	return string(class)
}

// PullTar has a tar archive downloaded, compressed or not, and made the image
// called name. The URL is one of http, https or file; the file must be on
// the host of systemd-importd.
//
// It returns when the transfer has begun, which the daemon then carries out
// whatever becomes of this process. Wait for it, or Close it.
//
// Reference: importctl.c, pull_image_common.
func (c *Client) PullTar(ctx context.Context, url, name string, o PullOptions) (*Transfer, error) {
	return c.pull(ctx, "PullTar", url, name, o)
}

// PullRaw is PullTar for the image of a disk: a raw or a qcow2 file, compressed
// or not.
func (c *Client) PullRaw(ctx context.Context, url, name string, o PullOptions) (*Transfer, error) {
	return c.pull(ctx, "PullRaw", url, name, o)
}

func (c *Client) pull(ctx context.Context, member, url, name string, o PullOptions) (*Transfer, error) {
	verify := string(o.Verify)
	if verify == "" {
		verify = string(VerifySignature)
	}
	call := transferCall{
		member: member + "Ex", in: []any{url, name, o.Class.orMachine(), verify, o.flags()},
		since: "256", lacking: "read-only downloads, nor images of other than machines",
	}
	// What is pulled the old way is kept as well.
	if o.Class.orMachine() == string(ClassMachine) && !o.ReadOnly {
		call.old, call.oldIn = member, []any{url, name, verify, o.Force}
	}
	t, err := c.transfer(ctx, call, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot pull %s: %w", url, err)
	}
	t.subject = "pull " + url
	return t, nil
}

// PullOCI has an OCI container image downloaded from a registry, by a reference
// such as "registry.example.com/web:1", and made the image called name, one of
// type mstack. The registry is spoken to by https. What the server says of the
// layers' checksums is what they are verified by. It needs systemd 260 or
// later: ErrNotSupported says that systemd-importd is older.
func (c *Client) PullOCI(ctx context.Context, reference, name string, o PullOptions) (*Transfer, error) {
	t, err := c.transfer(ctx, transferCall{
		member: "PullOci", in: []any{reference, name, o.Class.orMachine(), flagsOf(o.Force, o.ReadOnly, false)},
		since: "260", lacking: "pull-oci",
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot pull %s: %w", reference, err)
	}
	t.subject = "pull " + reference
	return t, nil
}

// ImportTar has a tar archive, compressed or not, made the image called name.
// The file is read from where it stands. Files that are regular or pipes are
// read by systemd-importd itself; others, such as sockets, devices and terminals,
// are read here and passed on, for as long as the transfer is not closed.
func (c *Client) ImportTar(ctx context.Context, file *os.File, name string, o ImportOptions) (*Transfer, error) {
	return c.importFile(ctx, "ImportTar", file, name, o)
}

// ImportRaw is ImportTar for the image of a disk: a raw or a qcow2 file,
// compressed or not.
func (c *Client) ImportRaw(ctx context.Context, file *os.File, name string, o ImportOptions) (*Transfer, error) {
	return c.importFile(ctx, "ImportRaw", file, name, o)
}

// ImportFS has a directory copied to be the image called name.
func (c *Client) ImportFS(ctx context.Context, directory *os.File, name string, o ImportOptions) (*Transfer, error) {
	if directory == nil {
		return nil, errNoFile
	}
	return c.importFrom(ctx, "ImportFileSystem", whole(directory), name, o)
}

// errNoFile is for a nil file.
var errNoFile = fmt.Errorf("no file is given to import or export: %w", machine1.ErrInvalidArgs)

func (c *Client) importFile(ctx context.Context, member string, file *os.File, name string, o ImportOptions) (*Transfer, error) {
	if file == nil {
		return nil, errNoFile
	}
	s, err := source(file)
	if err != nil {
		return nil, fmt.Errorf("cannot import %s: %w", file.Name(), err)
	}
	return c.importFrom(ctx, member, s, name, o)
}

func (c *Client) importFrom(ctx context.Context, member string, s *stream, name string, o ImportOptions) (*Transfer, error) {
	fd := s.descriptor()
	call := transferCall{
		member: member + "Ex", in: []any{fd, name, o.Class.orMachine(), flagsOf(o.Force, o.ReadOnly, false)},
		since: "256", lacking: lackingClasses,
	}
	if o.Class.orMachine() == string(ClassMachine) {
		call.old, call.oldIn = member, []any{fd, name, o.Force, o.ReadOnly}
	}
	t, err := c.transfer(ctx, call, s)
	if err != nil {
		return nil, fmt.Errorf("cannot import %s: %w", s.file.Name(), err)
	}
	t.subject = "import " + s.file.Name()
	return t, nil
}

// ExportTar has the image called name written to a file as a tar archive, from
// where the file stands. Files that are regular or pipes are written by
// systemd-importd itself; others, and those that are appended to, are written
// here, for as long as the transfer is not closed.
func (c *Client) ExportTar(ctx context.Context, name string, file *os.File, o ExportOptions) (*Transfer, error) {
	return c.export(ctx, "ExportTar", name, file, o)
}

// ExportRaw is ExportTar for the image of a disk, which is written as it is.
func (c *Client) ExportRaw(ctx context.Context, name string, file *os.File, o ExportOptions) (*Transfer, error) {
	return c.export(ctx, "ExportRaw", name, file, o)
}

func (c *Client) export(ctx context.Context, member, name string, file *os.File, o ExportOptions) (*Transfer, error) {
	if file == nil {
		return nil, errNoFile
	}
	s, err := sink(file)
	if err != nil {
		return nil, fmt.Errorf("cannot export %q: %w", name, err)
	}
	fd := s.descriptor()
	call := transferCall{
		member: member + "Ex", in: []any{name, o.Class.orMachine(), fd, string(o.Format), uint64(0)},
		since: "256", lacking: lackingClasses,
	}
	if o.Class.orMachine() == string(ClassMachine) {
		call.old, call.oldIn = member, []any{name, fd, string(o.Format)}
	}
	t, err := c.transfer(ctx, call, s)
	if err != nil {
		return nil, fmt.Errorf("cannot export %q: %w", name, err)
	}
	t.subject = fmt.Sprintf("export %q", name)
	return t, nil
}

// A transferCall is a method of systemd-importd that begins a transfer, and the
// one that an older daemon has for the same, "" if there is none.
type transferCall struct {
	member, old string
	in, oldIn   []any
	since       string // the version of systemd that has member
	lacking     string // what an older one does not know
}

const lackingClasses = "images of other than machines"

// begin makes the call. The signals of the transfer may come before its answer.
func (c *Client) begin(ctx context.Context, call transferCall, out ...any) error {
	err := c.call(ctx, importd, importManager+"."+call.member, call.in, out...)
	switch {
	case err == nil || !c.importdLacks(ctx, call.member, err):
		return err
	case call.old == "":
		return machine1.Errorf(machine1.ErrNotSupported, "this systemd-importd does not know %s; that of systemd %s does", call.lacking, call.since)
	}
	return c.call(ctx, importd, importManager+"."+call.old, call.oldIn, out...)
}
