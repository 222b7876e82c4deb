package busapi

import (
	"context"
	"os"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/account"
	"github.com/machd/machd/daemon/internal/imagemaker"
	"github.com/machd/machd/daemon/internal/operation"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// ImageMaker makes images; *imagemaker.Maker does.
type ImageMaker interface {
	Check(ctx context.Context, w imagemaker.Wish, given bool) error
	Make(ctx context.Context, w imagemaker.Wish, given *os.File, line func(string)) (imagemaker.Made, error)
}

// imageRows make images, and keep what they once were.
var imageRows = []vtable.Method{
	{
		Name: "CreateImage",
		Doc: "Makes an image, and answers when it is whole; until then nobody sees it. source is a distribution and its version (`debian:13`, " +
			"`ubuntu:24.04`, `fedora:42`, `centos-stream:9`), `oci:REFERENCE`, `machine:NAME` for another image, a URL of http or https, or `file` " +
			"with a descriptor in input of a directory, an archive or a disk image. log has a descriptor that lines of text are written to, as it " +
			"goes on, or none; once nobody reads from the other end any more, the image is not made. The answer has the bytes that the image " +
			"takes (2⁶⁴-1 if unknown), and what is to be known about it, or nothing.",
		In: "name source log input options", Out: "usage note", Access: machd.ActionManageImages, Slow: true, Func: ownCreateImage,
	},
	{
		Name: "MeasureImage",
		Doc:  "Tells how many bytes of the disk an image takes, with what it shares with others. It looks at every file of it.",
		In:   "image", Out: "usage", Access: machd.ActionManageImages, Slow: true, Func: ofImage(ownMeasureImage),
	},
	{
		Name: "SetImagePassword",
		Doc: "Sets the password of a user of an image that is not in use. hash is as crypt(3) makes it. Of a disk image it is the root file system " +
			"that is changed; one that is encrypted, protected by verity or read-only is refused.",
		In: "image user hash options", Access: machd.ActionManageImages, Slow: true, Func: ofImage(ownSetPassword),
	},
	{
		Name: "CreateSnapshot",
		Doc:  "Keeps an image as it is, under a name of letters, digits and `-_.+:`. The image may be in use: then it is kept as it were after a crash.",
		In:   "image snapshot options", Access: machd.ActionManageImages, Slow: true, Func: ofImage(ownCreateSnapshot),
	},
	{
		Name: "ListSnapshots",
		Doc: "Tells of the snapshots of an image, or of all if the name is empty: image, name, when it was made, bytes on disk with what it shares " +
			"(2⁶⁴-1 if unknown), and whether it shares all that was not changed since (`btrfs`), the same file by file (`reflink`), or nothing (`copy`).",
		In: "image", Out: "snapshots", Slow: true, Func: ownListSnapshots,
	},
	{
		Name: "RestoreSnapshot",
		Doc: "Makes an image what it was when the snapshot was made. It must not be in use. What it was last is another snapshot from then on, whose " +
			"name is the answer; it is empty if the image was gone.",
		In: "image snapshot options", Out: "before", Access: machd.ActionManageImages, Slow: true, Func: ownRestoreSnapshot,
	},
	{
		Name: "RemoveSnapshot",
		Doc:  "Removes a snapshot.",
		In:   "image snapshot options", Access: machd.ActionManageImages, Slow: true, Func: ownRemoveSnapshot,
	},
}

func ownCreateImage(ctx context.Context, c *vtable.Call, a *API, name, source string, log, input []machd.Descriptor, opts options) (
	usage uint64, note string, err error) {
	w := imagemaker.Wish{Name: name}
	if w.Source, err = machd.ParseSource(source); err != nil {
		return 0, "", err
	}
	if w.Options, err = machd.ParseCreateOptions(opts); err != nil {
		return 0, "", err
	}
	if len(log) > 1 || len(input) > 1 {
		return 0, "", machine1.Errorf(machine1.ErrInvalidArgs, "There is one log and one input at most")
	}
	if a.operations.Full() {
		return 0, "", operation.ErrTooMany
	}
	if err := a.maker.Check(ctx, w, len(input) > 0); err != nil {
		return 0, "", err
	}
	if err := a.ask(ctx, c, access.OwnCreateImage, map[string]string{"image": name, "source": source}); err != nil {
		return 0, "", err
	}
	streams, err := takeStreams(c, append(log, input...))
	if err != nil {
		return 0, "", err
	}
	defer closeFiles(streams)
	ctx, end, err := a.operations.Begin(ctx, "")
	if err != nil {
		return 0, "", err
	}
	defer end()
	line := func(string) {}
	if len(log) > 0 {
		var stop func()
		ctx, line, stop = relay(ctx, streams[0])
		defer stop()
	}
	var given *os.File
	if len(input) > 0 {
		given = streams[len(log)]
	}
	made, err := a.maker.Make(ctx, w, given, line)
	return made.Usage, made.Note, err
}

func ownMeasureImage(ctx context.Context, c *vtable.Call, o imageObject) (uint64, error) {
	i, err := o.ask(ctx, c, access.OwnMeasureImage, nil)
	if err != nil {
		return 0, err
	}
	// That takes long for an image with many files, and only he wants to know.
	ctx, _, done, err := o.api.callers.Attend(ctx, c.Sender)
	if err != nil {
		return 0, err
	}
	defer done()
	return o.api.images.Measure(ctx, i)
}

func ownSetPassword(ctx context.Context, c *vtable.Call, o imageObject, user, hash string, opts options) error {
	given, err := machd.ParsePasswordOptions(opts)
	if err != nil {
		return err
	}
	password := account.Password{Hash: hash, Yescrypt: given.Yescrypt}
	if !password.Valid() {
		return machine1.Errorf(machine1.ErrInvalidArgs, "It is no hash of a password")
	}
	i, err := o.ask(ctx, c, access.OwnSetPassword, map[string]string{"user": user})
	if err != nil {
		return err
	}
	return o.api.images.SetPassword(ctx, i, user, password)
}

func ownCreateSnapshot(ctx context.Context, c *vtable.Call, o imageObject, snapshot string, opts options) error {
	if err := machd.ParseNoOptions(opts); err != nil {
		return err
	}
	if o.api.operations.Full() {
		return operation.ErrTooMany
	}
	i, err := o.ask(ctx, c, access.OwnCreateSnapshot, map[string]string{"snapshot": snapshot})
	if err != nil {
		return err
	}
	return o.api.operate(ctx, func(ctx context.Context) error { return o.api.images.CreateSnapshot(ctx, i, snapshot) })
}

func ownListSnapshots(ctx context.Context, _ *vtable.Call, a *API, name string) ([]machd.Snapshot, error) {
	found, err := a.images.Snapshots(ctx, name)
	if err != nil {
		return nil, err
	}
	snapshots := make([]machd.Snapshot, 0, len(found))
	for _, s := range found {
		snapshots = append(snapshots, machd.Snapshot(s))
	}
	return snapshots, nil
}

func ownRestoreSnapshot(ctx context.Context, c *vtable.Call, a *API, name, snapshot string, opts options) (before string, err error) {
	err = a.changeSnapshot(ctx, c, access.OwnRestoreSnapshot, name, snapshot, opts, func(ctx context.Context) error {
		before, err = a.images.RestoreSnapshot(ctx, name, snapshot)
		return err
	})
	return before, err
}

func ownRemoveSnapshot(ctx context.Context, c *vtable.Call, a *API, name, snapshot string, opts options) error {
	return a.changeSnapshot(ctx, c, access.OwnRemoveSnapshot, name, snapshot, opts, func(ctx context.Context) error {
		return a.images.RemoveSnapshot(ctx, name, snapshot)
	})
}

// changeSnapshot does something to a snapshot, whose image need not be there any
// more.
func (a *API) changeSnapshot(ctx context.Context, c *vtable.Call, rule access.Rule, name, snapshot string, opts options, do func(context.Context) error) error {
	if err := machd.ParseNoOptions(opts); err != nil {
		return err
	}
	if !machine1.ValidImageName(name) || !machd.ValidSnapshotName(snapshot) {
		return machine1.Errorf(machine1.ErrInvalidArgs, "'%s' of '%s' cannot be a snapshot", snapshot, name)
	}
	if a.operations.Full() {
		return operation.ErrTooMany
	}
	if err := a.ask(ctx, c, rule, map[string]string{"image": name, "snapshot": snapshot}); err != nil {
		return err
	}
	return a.operate(ctx, do)
}

// operate counts something in that may take long.
func (a *API) operate(ctx context.Context, do func(context.Context) error) error {
	ctx, end, err := a.operations.Begin(ctx, "")
	if err != nil {
		return err
	}
	defer end()
	return do(ctx)
}
