package filetree

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

const (
	// smallFile is up to which size a file is read and written at once, bytes.
	smallFile = 64 << 10
	// largeBuffer is for files that the kernel cannot copy by itself, bytes.
	largeBuffer = 1 << 20
	// rangeStep is how much the kernel copies before ctx is asked, bytes.
	rangeStep = 32 << 20
	// maxUnsized bounds a file that claims to be empty and is not: a file
	// that a kernel or a FUSE server makes up as it is read. Bytes.
	maxUnsized = 64 << 20
)

// ways remembers what did not work between two file systems.
type ways struct {
	readable         uint64    // a device whose content may be read
	noClone, noRange [2]uint64 // devices of source and copy
}

var errNotReadable = fmt.Errorf("it is a file that the kernel makes up: %w", unix.EOPNOTSUPP)

// mayRead asks the options whether content of an open file may be read.
func (w *worker) mayRead(source int, dev uint64) error {
	if w.c.o.Readable == nil || dev == w.ways.readable && dev != 0 {
		return nil
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(source, &fs); err != nil {
		return err
	}
	if !w.c.o.Readable(int64(fs.Type)) {
		return errNotReadable
	}
	w.ways.readable = dev
	return nil
}

// content copies what is in source to the empty file made. What is added to
// source meanwhile may be left out.
func (w *worker) content(ctx context.Context, source, made int, stat *unix.Stat_t, dev uint64) error {
	const block = 512 // of Stat_t.Blocks, bytes
	between := [2]uint64{stat.Dev, dev}
	if stat.Size == 0 {
		return w.unsized(ctx, source, made)
	}
	if between != w.ways.noClone {
		err := unix.IoctlFileClone(made, source)
		if err == nil {
			w.c.meter.Add(uint64(stat.Size), 0)
			return nil
		}
		if isAny(err, unix.EOPNOTSUPP, unix.ENOTTY, unix.EXDEV) {
			w.ways.noClone = between
		}
	}
	full := stat.Blocks*block >= stat.Size
	if full && stat.Size <= smallFile {
		_, err := w.pump(ctx, source, made, w.small, 0, stat.Size)
		return err
	}
	if full {
		_, err := w.span(ctx, source, made, 0, stat.Size, between)
		return err
	}
	return w.spans(ctx, source, made, stat.Size, between)
}

// unsized copies a file that claims to have no content.
func (w *worker) unsized(ctx context.Context, source, made int) error {
	n, err := w.pump(ctx, source, made, w.small, 0, maxUnsized)
	if err == nil && n == maxUnsized {
		err = fmt.Errorf("it claims to be empty and does not end: %w", unix.EFBIG)
	}
	return err
}

// spans copies the parts of source that are no holes.
func (w *worker) spans(ctx context.Context, source, made int, size int64, between [2]uint64) error {
	holes := size
	for at := int64(0); at < size; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		start, end := nextSpan(at, size, func(at int64, whence int) (int64, error) { return unix.Seek(source, at, whence) })
		if start >= size {
			break
		}
		n, err := w.span(ctx, source, made, start, end, between)
		if err != nil {
			return err
		}
		if start+n < end {
			return nil // it was cut off meanwhile
		}
		at, holes = end, holes-n
	}
	w.c.meter.Add(uint64(holes), 0)
	return unix.Ftruncate(made, size)
}

// nextSpan returns where the next part of a file from at on begins and ends that
// is no hole. It is all that is left if seek, which a FUSE server may answer as
// it likes, cannot tell or makes no sense.
func nextSpan(at, size int64, seek func(at int64, whence int) (int64, error)) (start, end int64) {
	start, err := seek(at, unix.SEEK_DATA)
	if err == unix.ENXIO {
		return size, size // a hole up to the end
	}
	if err != nil || start < at {
		return at, size
	}
	end, err = seek(start, unix.SEEK_HOLE)
	switch {
	case err != nil || end > size:
		return start, size
	case end == start && start > at:
		return start, start // it has become a hole since
	case end <= start:
		return at, size
	}
	return start, end
}

// span copies from start to end, and returns how much there was.
func (w *worker) span(ctx context.Context, source, made int, start, end int64, between [2]uint64) (int64, error) {
	if between == w.ways.noRange {
		return w.pump(ctx, source, made, w.buffer(), start, end)
	}
	at := start
	for at < end {
		if err := context.Cause(ctx); err != nil {
			return at - start, err
		}
		from, to := at, at
		n, err := retry(func() (int, error) {
			return unix.CopyFileRange(source, &from, made, &to, int(min(end-at, rangeStep)), 0)
		})
		if isAny(err, unix.EXDEV, unix.ENOSYS) {
			w.ways.noRange = between
		}
		if err != nil && !isAny(err, unix.EXDEV, unix.ENOSYS, unix.EOPNOTSUPP, unix.EINVAL, unix.EPERM) {
			return at - start, err
		}
		if err != nil || n == 0 { // some file systems say 0 for "cannot"
			n, err := w.pump(ctx, source, made, w.buffer(), at, end)
			return at - start + n, err
		}
		at += int64(n)
		w.c.meter.Add(uint64(n), 0)
	}
	return at - start, nil
}

func (w *worker) buffer() []byte {
	if w.large == nil {
		w.large = make([]byte, largeBuffer)
	}
	return w.large
}

// pump reads and writes from start to end, and returns how much there was.
func (w *worker) pump(ctx context.Context, source, made int, buffer []byte, start, end int64) (int64, error) {
	at := start
	for at < end {
		if err := context.Cause(ctx); err != nil {
			return at - start, err
		}
		part := buffer[:min(int64(len(buffer)), end-at)]
		n, err := retry(func() (int, error) { return unix.Pread(source, part, at) })
		if err != nil {
			return at - start, err
		}
		if n == 0 {
			break
		}
		if err := writeAll(made, part[:n], at); err != nil {
			return at - start, err
		}
		at += int64(n)
		w.c.meter.Add(uint64(n), 0)
	}
	return at - start, nil
}

func writeAll(made int, data []byte, at int64) error {
	for len(data) > 0 {
		n, err := retry(func() (int, error) { return unix.Pwrite(made, data, at) })
		if err != nil {
			return err
		}
		if n == 0 {
			return errors.Join(io.ErrShortWrite, unix.EIO)
		}
		data, at = data[n:], at+int64(n)
	}
	return nil
}
