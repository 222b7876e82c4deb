package varlinkapi

import (
	"context"
	"os"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/account"
	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/imagemaker"
	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machd"
)

func validHash(v any) bool { return account.ValidHash(v.(string)) }

// ImageMaker makes images; *imagemaker.Maker does.
type ImageMaker interface {
	Check(ctx context.Context, w imagemaker.Wish, given bool) error
	Make(ctx context.Context, w imagemaker.Wish, given *os.File, line func(string)) (imagemaker.Made, error)
}

var (
	snapshotName = varlink.Field{
		Name: "snapshot", Type: varlink.String, Valid: func(v any) bool { return machd.ValidSnapshotName(v.(string)) },
	}
	ownSnapshot = varlink.Struct("Snapshot",
		varlink.Field{Name: "image", Type: varlink.String},
		varlink.Field{Name: "name", Type: varlink.String},
		varlink.Field{Name: "creationTimestamp", Doc: "Microseconds since the epoch", Type: varlink.Int, Nullable: true},
		varlink.Field{Name: "usage", Doc: "Bytes, with what it shares", Type: varlink.Int, Nullable: true},
		varlink.Field{Name: "kind", Doc: "Whether it shares what was not changed since (btrfs), file by file (reflink), or nothing (copy)", Type: varlink.String})
)

// makeMethods make images, and keep what they once were.
var makeMethods = []varlink.Method[*API]{
	{
		Name: "Create",
		Doc: "Makes an image, and tells each line of what is said about that, and then how large it is. A caller that hangs up calls it off. " +
			"What is made of a file that the caller has opened takes D-Bus",
		In: varlink.Fields{
			{Name: "name", Type: varlink.String, Valid: isMachineName}, interactive,
			{Name: "source", Doc: "A distribution and its version, such as debian:13, oci:REFERENCE, machine:NAME or a URL", Type: varlink.String},
			option("mirror", "Where packages come from", varlink.String),
			option("packages", "More of them", varlink.Array(varlink.String)),
			option("verify", "If left out, signature", varlink.Enum("Verification",
				string(machd.VerifySignature), string(machd.VerifyChecksum), string(machd.VerifyNo))),
			option("rootPassword", "As crypt(3) makes it", varlink.String),
			option("rootYescrypt", "The same password by yescrypt, for systems that use it themselves", varlink.String),
			option("sshKeys", "Lines of authorized_keys(5)", varlink.Array(varlink.String)),
			option("readOnly", "Of the image", varlink.Bool),
		},
		Out: varlink.Fields{
			{Name: "line", Type: varlink.String, Nullable: true},
			{Name: "usage", Doc: "Bytes", Type: varlink.Int, Nullable: true},
			{Name: "note", Doc: "What is to be known about it", Type: varlink.String, Nullable: true},
		},
		More:   varlink.OnlyStream,
		Access: machd.ActionManageImages,
		Func:   ownCreate,
	},
	{
		Name:   "Measure",
		Doc:    "Tells how much of the disk an image takes, with what it shares with others",
		In:     varlink.Fields{imageName, interactive},
		Out:    varlink.Fields{{Name: "usage", Doc: "Bytes", Type: varlink.Int}},
		Access: machd.ActionManageImages,
		Func:   ownMeasure,
	},
	{
		Name: "SetPassword",
		Doc:  "Sets the password of a user of an image that is not in use",
		In: varlink.Fields{
			imageName, interactive,
			{Name: "user", Type: varlink.String},
			{Name: "hash", Doc: "As crypt(3) makes it", Type: varlink.String, Valid: validHash},
			{Name: "yescrypt", Doc: "The same password by yescrypt, for a system that uses it itself", Type: varlink.String, Nullable: true, Valid: validHash},
		},
		Access: machd.ActionManageImages,
		Func:   ownSetPassword,
	},
	{
		Name:   "CreateSnapshot",
		Doc:    "Keeps an image as it is",
		In:     varlink.Fields{imageName, interactive, snapshotName},
		Access: machd.ActionManageImages,
		Func:   ownCreateSnapshot,
	},
	{
		Name: "ListSnapshots",
		Doc:  "Tells of the snapshots of an image, or of all",
		In:   varlink.Fields{{Name: "name", Type: varlink.String, Nullable: true, Valid: isImageName}},
		Out:  varlink.Fields{{Name: "snapshots", Type: varlink.Array(ownSnapshot)}},
		Func: ownListSnapshots,
	},
	{
		Name:   "RestoreSnapshot",
		Doc:    "Makes an image that is not in use what it was when the snapshot was made",
		In:     varlink.Fields{imageName, interactive, snapshotName},
		Out:    varlink.Fields{{Name: "before", Doc: "The snapshot that it was last is now", Type: varlink.String, Nullable: true}},
		Access: machd.ActionManageImages,
		Func:   ownRestoreSnapshot,
	},
	{
		Name:   "RemoveSnapshot",
		Doc:    "Removes a snapshot",
		In:     varlink.Fields{imageName, interactive, snapshotName},
		Access: machd.ActionManageImages,
		Func:   ownRemoveSnapshot,
	},
}

// A createdRecord is one answer of Create: a line, or the last one.
type createdRecord struct {
	Line  string  `json:"line,omitempty"`
	Usage *uint64 `json:"usage,omitempty"`
	Note  string  `json:"note,omitempty"`
}

func ownCreate(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	source, err := machd.ParseSource(c.In.String("source"))
	if err != nil {
		return nil, err
	}
	w := imagemaker.Wish{Name: c.In.String("name"), Source: source, Options: machd.CreateOptions{
		Mirror: c.In.String("mirror"), Packages: c.In.Strings("packages"), Verify: machd.VerifySignature,
		RootPassword: c.In.String("rootPassword"), RootYescrypt: c.In.String("rootYescrypt"), SSHKeys: c.In.Strings("sshKeys"), ReadOnly: c.In.Bool("readOnly"),
	}}
	if c.In.Has("verify") {
		w.Options.Verify = machd.Verification(c.In.String("verify"))
	}
	if err := a.Maker.Check(ctx, w, false); err != nil {
		return nil, err
	}
	if a.Operations.Full() {
		return nil, errTooManyOperations
	}
	details := map[string]string{"image": w.Name, "source": source.String()}
	if err := a.ask(ctx, c, access.OwnCreateImage, details); err != nil {
		return nil, err
	}
	ctx, end, err := a.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	made, err := a.Maker.Make(ctx, w, nil, func(line string) {
		if c.Notify(createdRecord{Line: line}) != nil {
			cancel()
		}
	})
	if err != nil {
		return nil, err
	}
	return createdRecord{Usage: bytes(made.Usage), Note: made.Note}, nil
}

func ownMeasure(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	i, err := a.image(ctx, c, access.OwnMeasureImage, nil)
	if err != nil {
		return nil, err
	}
	usage, err := a.Images.Measure(ctx, i)
	return struct {
		Usage uint64 `json:"usage"`
	}{usage}, err
}

func ownSetPassword(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	user, password := c.In.String("user"), account.Password{Hash: c.In.String("hash"), Yescrypt: c.In.String("yescrypt")}
	i, err := a.image(ctx, c, access.OwnSetPassword, map[string]string{"user": user})
	if err != nil {
		return nil, err
	}
	return nil, a.Images.SetPassword(ctx, i, user, password)
}

func ownCreateSnapshot(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	snapshot := c.In.String("snapshot")
	return nil, a.change(ctx, c, access.OwnCreateSnapshot, map[string]string{"snapshot": snapshot},
		func(ctx context.Context, i image.Image) error {
			return a.Images.CreateSnapshot(varlink.Detach(ctx), i, snapshot)
		})
}

// A snapshotRecord is a snapshot as ListSnapshots shows it.
type snapshotRecord struct {
	Image   string  `json:"image"`
	Name    string  `json:"name"`
	Created uint64  `json:"creationTimestamp,omitempty"`
	Usage   *uint64 `json:"usage,omitempty"`
	Kind    string  `json:"kind"`
}

func ownListSnapshots(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	found, err := a.Images.Snapshots(ctx, c.In.String("name"))
	if err != nil {
		return nil, err
	}
	type answer struct {
		Snapshots []snapshotRecord `json:"snapshots"`
	}
	all := answer{Snapshots: []snapshotRecord{}}
	for _, s := range found {
		r := snapshotRecord{Image: s.Image, Name: s.Name, Created: s.Created, Kind: s.Kind}
		if s.Usage != image.Unknown {
			r.Usage = &s.Usage
		}
		all.Snapshots = append(all.Snapshots, r)
	}
	return all, nil
}

func ownRestoreSnapshot(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	var before string
	err := a.changeSnapshot(ctx, c, access.OwnRestoreSnapshot, func(ctx context.Context, name, snapshot string) (err error) {
		before, err = a.Images.RestoreSnapshot(ctx, name, snapshot)
		return err
	})
	if err != nil {
		return nil, err
	}
	return struct {
		Before string `json:"before,omitempty"`
	}{before}, nil
}

func ownRemoveSnapshot(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	return nil, a.changeSnapshot(ctx, c, access.OwnRemoveSnapshot, a.Images.RemoveSnapshot)
}

// changeSnapshot does something to a snapshot, whose image need not be there any
// more.
func (a *API) changeSnapshot(ctx context.Context, c *varlink.Call, rule access.Rule, do func(ctx context.Context, name, snapshot string) error) error {
	name, snapshot := c.In.String("name"), c.In.String("snapshot")
	if a.Operations.Full() {
		return errTooManyOperations
	}
	if err := a.ask(ctx, c, rule, map[string]string{"image": name, "snapshot": snapshot}); err != nil {
		return err
	}
	ctx, end, err := a.begin(varlink.Detach(ctx))
	if err != nil {
		return err
	}
	defer end()
	return do(ctx, name, snapshot)
}
