package imagemaker

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/logline"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/socket"
)

// A builder is the process that makes one image.
type builder struct {
	wish   Wish
	images *image.Store
	given  *os.File // what the source is made of, or nil
	note   string
	said   string // the last line of a log that tells something

	dir   *os.File // where it is made, once it is
	full  bool     // the file system there was seen to be
	ofTar int      // lines that tar has printed since

	mu   sync.Mutex // over what is written to conn
	conn *net.UnixConn
}

// errCalledOff says that nobody wants the image any more.
var errCalledOff = errors.New("it was called off")

// Build does what a unit was told: standard input is the daemon. What it returns
// is for the journal; the daemon knows.
func Build(ctx context.Context, images *image.Store) error {
	conn, err := net.FileConn(os.Stdin)
	if err != nil {
		return fmt.Errorf("%s is for units that make images only: %w", BuildArgument, err)
	}
	daemon, ok := conn.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("%s is for units that make images only", BuildArgument)
	}
	defer daemon.Close()
	b := &builder{images: images, conn: daemon}
	if err := b.readOrder(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		_, _ = io.Copy(io.Discard, daemon) // nothing comes but the end
		cancel(errCalledOff)
	}()
	made, err := b.make(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		b.report(report{Failure: failureOf(err)})
		return err
	}
	b.report(report{Made: &made})
	return nil
}

// readOrder reads the wish, and the descriptor that came with it.
func (b *builder) readOrder() error {
	first, rights := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	n, nRights, _, _, err := b.conn.ReadMsgUnix(first, rights)
	if err != nil || n != 1 {
		return fmt.Errorf("cannot read what to make: %w", err)
	}
	files, err := socket.Files(rights[:nRights])
	if len(files) > 0 {
		b.given = files[0] // there is room for one
	}
	if err != nil {
		return err
	}
	order := bufio.NewReader(io.MultiReader(&oneByte{first}, b.conn))
	line, err := order.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("cannot read what to make: %w", err)
	}
	return json.Unmarshal(line, &b.wish)
}

// oneByte reads what was read already.
type oneByte struct{ left []byte }

func (o *oneByte) Read(p []byte) (int, error) {
	if len(o.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, o.left)
	o.left = o.left[n:]
	return n, nil
}

// make makes the image.
func (b *builder) make(ctx context.Context) (made Made, err error) {
	var like *image.Image
	if b.wish.Source.Kind == machd.SourceMachine {
		i, err := b.images.Get(ctx, b.wish.Source.Name)
		if err != nil {
			return made, err
		}
		like = &i
	}
	err = b.images.Make(ctx, b.wish.Name, b.wish.Options.ReadOnly, like, func(ctx context.Context, w image.Workshop) error {
		b.dir = w.Dir
		if err := b.fill(ctx, w, like); err != nil {
			return b.whenFull(err)
		}
		if err := b.admit(ctx, w); err != nil {
			return b.whenFull(err)
		}
		if made.Usage, err = image.DiskUsage(ctx, w.Dir.Name()); err != nil {
			made.Usage = image.Unknown // which is no reason to throw it away
		}
		return nil
	})
	made.Note = b.note
	return made, err
}

// fill makes it without its users.
func (b *builder) fill(ctx context.Context, w image.Workshop, like *image.Image) error {
	switch b.wish.Source.Kind {
	case machd.SourceDebian, machd.SourceUbuntu:
		return b.debootstrap(ctx, w)
	case machd.SourceFedora, machd.SourceCentOS:
		return b.dnf(ctx, w)
	case machd.SourceOCI:
		return b.pullOCI(ctx, w)
	case machd.SourceURL:
		return b.download(ctx, w)
	case machd.SourceMachine:
		return w.CopyImage(ctx, *like)
	}
	return b.take(ctx, w)
}

// goodbye is what systemd-importd's programs say last, whatever has happened.
//
// Reference: pull.c, import.c.
const goodbye = "Exiting."

// say tells who waits, and the journal, a line.
func (b *builder) say(text string) {
	text = logline.Clean(text)
	if text == "" {
		return
	}
	if text != goodbye {
		b.said = text
	}
	fmt.Fprintln(os.Stderr, text)
	b.report(report{Line: text})
}

// report tells the daemon something. That it has gone is noticed elsewhere.
func (b *builder) report(r report) {
	text, err := json.Marshal(r)
	if err != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	_, _ = b.conn.Write(append(text, '\n'))
}
