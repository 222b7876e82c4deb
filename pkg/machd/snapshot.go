package machd

import "strings"

// What a snapshot shares with the image that it was made of.
const (
	SnapshotBtrfs   = "btrfs"   // all that has not been changed since
	SnapshotReflink = "reflink" // the same, file by file
	SnapshotCopy    = "copy"    // nothing
)

// Snapshots are hidden images whose names tell what they are snapshots of.
const (
	snapshotPrefix = "."
	snapshotMark   = "@"
)

// maxSnapshotName is how long a snapshot's name may be, in bytes.
const maxSnapshotName = 64

// SnapshotImage returns the name of the image that the snapshot of an image is.
func SnapshotImage(image, snapshot string) string {
	return snapshotPrefix + image + snapshotMark + snapshot
}

// CutSnapshot tells which snapshot of which image the image called name is. It is
// not ok if it is none.
func CutSnapshot(name string) (image, snapshot string, ok bool) {
	name, hidden := strings.CutPrefix(name, snapshotPrefix)
	i := strings.LastIndex(name, snapshotMark)
	if !hidden || i <= 0 || !ValidSnapshotName(name[i+1:]) {
		return "", "", false
	}
	return name[:i], name[i+1:], true
}

// ValidSnapshotName reports whether a snapshot can be called name: up to 64
// letters, digits and -_.+: that do not begin with a mark.
func ValidSnapshotName(name string) bool {
	for i := range len(name) {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || !strings.ContainsRune("-_.+:", rune(c))) {
			return false
		}
	}
	return name != "" && len(name) <= maxSnapshotName
}

// A Snapshot is an image as it once was. It goes over the bus as a structure.
type Snapshot struct {
	Image   string
	Name    string
	Created uint64 // µs since the epoch, 0 if unknown
	Usage   uint64 // bytes, 2⁶⁴-1 if unknown
	Kind    string // SnapshotBtrfs, SnapshotReflink or SnapshotCopy
}
