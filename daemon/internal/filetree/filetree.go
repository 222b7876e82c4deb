// Package filetree copies, measures and removes trees of files by descriptor: nothing
// outside the two trees is read or changed, whoever renames, swaps or links
// in them meanwhile. It knows neither machines nor images.
//
// No path is used: every step opens one name in an open directory and follows
// no link. What was opened is looked at before it is used.
package filetree

import "os"

// XAttrs says which extended attributes a copy has.
type XAttrs int

const (
	// UserXAttrs copies user.* only: all that a machine may hand over.
	UserXAttrs XAttrs = iota
	// AllXAttrs copies all there are: access lists, file capabilities,
	// security labels. It is for images.
	AllXAttrs
)

// CopyOptions say what a copy is like. The zero value makes an exact copy
// under a name that must not exist yet, with user.* attributes only.
type CopyOptions struct {
	// Owner returns the owner of the copy of a file that is owned by uid
	// and gid. If not ok, that owner cannot be had and the copy fails with
	// an error that names the file. Nil keeps owners. It is called from
	// several goroutines at a time.
	Owner  func(uid, gid uint32) (newUID, newGID uint32, ok bool)
	XAttrs XAttrs
	// Merge makes a directory that exists stay, with its owner, mode and
	// times, and get what it lacks. Whatever else exists below it stays as
	// it is; only the copy's own name must not belong to another file.
	Merge bool
	// Replace, with Merge, puts the copies of all but directories in place
	// of what has their name. Each takes its place at once and complete.
	Replace bool
	// SameMount copies mount points below the top as empty directories, and
	// leaves out those that are files. Else what is mounted is copied.
	SameMount bool
	// MayFill reports whether copies may be put into a directory that was
	// there before, judged by its owner and mode; nil permits it. The copy
	// fails with EACCES otherwise. Where it is set the place is somebody
	// else's, and what is made there must belong to whom Worker makes it as,
	// else somebody has put it there instead.
	MayFill func(uid, gid, mode uint32) bool
	// MakeRoot makes the top directory newName in to, say as a subvolume;
	// nil makes an ordinary one. It is not called if the source is no
	// directory, or if Merge finds the name taken.
	MakeRoot func(to *os.File, newName string) error
	// Readable reports whether content of regular files may be read from a
	// file system of that type (a magic number of statfs); nil reads all.
	Readable func(fsType int64) bool
	// Worker runs work on a thread prepared for it, and returns its error;
	// nil calls work. It is called from several goroutines at a time.
	Worker func(work func() error) error
}
