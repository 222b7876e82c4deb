package btrfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// The item types of the quota tree.
const (
	itemQgroupInfo     = 242
	itemQgroupLimit    = 244
	itemQgroupRelation = 246
)

// errNoQuota is what reading the quota tree fails with where quota is off.
var errNoQuota = fmt.Errorf("quota is not enabled: %w", unix.ENODATA)

// An item is one entry of a tree.
type item struct {
	object, offset uint64
	kind           uint32
	data           []byte // valid during the call only
}

// searchQuota calls each with the items of the quota tree that have this
// object and kind and an offset from first to last, in order.
func searchQuota(fd int, object uint64, kind uint32, first, last uint64, each func(item)) error {
	args := searchArgs{Key: searchKey{
		TreeID:    quotaTree,
		MinObject: object, MaxObject: object,
		MinType: kind, MaxType: kind,
		MinOffset: first, MaxOffset: last,
		MaxTransaction: math.MaxUint64,
	}}
	for {
		args.Key.Items = math.MaxUint32 // as many as there is room for
		if _, err := ioctl(fd, ioctlTreeSearch, &args); err != nil {
			if errors.Is(err, unix.ENOENT) {
				return errNoQuota
			}
			return err
		}
		end, ok := parseItems(args.Buf[:], args.Key.Items, each)
		if !ok || end.offset >= last {
			return nil
		}
		args.Key.MinOffset = end.offset + 1
	}
}

// parseItems reads what a search has written to buf. It returns the last item
// and whether there was one.
func parseItems(buf []byte, count uint32, each func(item)) (last item, any bool) {
	const header = 32 // transaction, object, offset, type, length
	for range count {
		if len(buf) < header {
			break
		}
		i := item{
			object: binary.NativeEndian.Uint64(buf[8:]),
			offset: binary.NativeEndian.Uint64(buf[16:]),
			kind:   binary.NativeEndian.Uint32(buf[24:]),
		}
		length := int(binary.NativeEndian.Uint32(buf[28:]))
		buf = buf[header:]
		if length > len(buf) {
			break
		}
		i.data, buf = buf[:length], buf[length:]
		each(i)
		last, any = i, true
	}
	return last, any
}
