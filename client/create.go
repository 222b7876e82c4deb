package client

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/pkg/machd"
)

// ImageOptions are what making an image can be told.
type ImageOptions struct {
	Mirror       string             // a URL where the packages come from; "" is the distribution's own
	Packages     []string           // beside those that make a system that boots
	Verify       machd.Verification // "" is machd.VerifySignature
	RootPassword string             // of root in the image; it is hashed here. "" sets none
	SSHKeys      []string           // that root may log in with, lines of authorized_keys(5)
	ReadOnly     bool               // of the image
}

// A CreatedImage is what CreateImage has made.
type CreatedImage struct {
	Usage uint64 // bytes on disk, Unknown if that is not known
	Note  string // what its user should know, or ""
}

// CreateImage makes an image called name, and returns when it is whole: nobody
// sees half of one. source is as machd.ParseSource has it, and file what it is made
// of, a directory, archive or disk image, if source is machd.SourceGiven; else it
// is nil. line, if it is not nil, is called with what is said about the work, a
// line at a time. If ctx ends, nothing is made; that this is so is waited for, up
// to 5 s. It takes machd.
//
// Reference: docs/api.md, CreateImage.
func (c *Client) CreateImage(ctx context.Context, name, source string, file *os.File, o ImageOptions, line func(string)) (CreatedImage, error) {
	created, err := c.createImage(ctx, name, source, file, o, line)
	if err != nil {
		return CreatedImage{}, fmt.Errorf("cannot make image %q: %w", name, err)
	}
	return created, nil
}

func (c *Client) createImage(ctx context.Context, name, source string, file *os.File, o ImageOptions, line func(string)) (created CreatedImage, err error) {
	options := machd.CreateOptions{
		Mirror: o.Mirror, Packages: o.Packages, Verify: o.Verify, SSHKeys: o.SSHKeys, ReadOnly: o.ReadOnly,
	}
	if o.RootPassword != "" {
		options.RootPassword, options.RootYescrypt = HashPassword(o.RootPassword), hashByYescrypt(o.RootPassword)
	}
	input := []machd.Descriptor{}
	if file != nil {
		input = append(input, machd.Descriptor{FD: dbus.UnixFD(file.Fd())})
	}
	log, err := c.openLog(line)
	if err != nil {
		return created, err
	}
	defer log.end()
	// Nobody reads from then on, which is how the daemon knows.
	stop := context.AfterFunc(ctx, log.abandon)
	defer stop()
	err = log.callOff(ctx, func(ctx context.Context) error {
		return c.askMachd(ctx, "CreateImage", []any{name, source, log.descriptors, input, options.Variants()}, &created.Usage, &created.Note)
	})
	return created, err
}

// A daemonLog is what the daemon writes lines to.
type daemonLog struct {
	descriptors    []machd.Descriptor
	reader, writer *os.File // nil if the bus takes no descriptors
	read           chan struct{}
}

func (c *Client) openLog(line func(string)) (*daemonLog, error) {
	l := &daemonLog{descriptors: []machd.Descriptor{}, read: make(chan struct{})}
	if !c.conn.SupportsUnixFDs() {
		close(l.read)
		return l, nil
	}
	var err error
	if l.reader, l.writer, err = os.Pipe(); err != nil {
		return nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	l.descriptors = append(l.descriptors, machd.Descriptor{FD: dbus.UnixFD(l.writer.Fd())})
	go func() {
		defer close(l.read)
		lines := bufio.NewScanner(l.reader)
		for lines.Scan() {
			if line != nil {
				line(lines.Text())
			}
		}
	}()
	return l, nil
}

// callOffGrace is how long a daemon is waited for that was told to leave off.
const callOffGrace = 5 * time.Second

// callOff makes a call that the daemon ends when nobody reads its log, as is so
// when ctx ends, and returns once the daemon has let go of everything, or does not
// within callOffGrace: whoever repeats the call is not in his own way then.
func (l *daemonLog) callOff(ctx context.Context, call func(context.Context) error) error {
	if l.writer == nil || ctx.Err() != nil {
		return call(ctx)
	}
	patient, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(callOffGrace):
			giveUp()
		case <-patient.Done():
		}
	})
	defer stop()
	err := call(patient)
	if err != nil && ctx.Err() != nil {
		return overtime(machined.Name, ctx.Err())
	}
	return err
}

// abandon stops reading.
func (l *daemonLog) abandon() {
	if l.reader != nil {
		l.reader.Close()
	}
}

// end reads what the daemon has written, which has let go by now.
func (l *daemonLog) end() {
	if l.writer != nil {
		l.writer.Close()
	}
	<-l.read
	l.abandon()
}

// ImageUsage returns how many bytes of the disk an image takes, with what it shares
// with others; other than Image.Usage it is known of all types. Every file of it is
// looked at. It takes machd.
//
// Reference: docs/api.md, MeasureImage.
func (c *Client) ImageUsage(ctx context.Context, name string) (bytes uint64, err error) {
	if err := c.askMachd(ctx, "MeasureImage", []any{name}, &bytes); err != nil {
		return 0, fmt.Errorf("cannot measure image %q: %w", name, err)
	}
	return bytes, nil
}

// noOptions is for methods that have room for options.
var noOptions = map[string]dbus.Variant{}
