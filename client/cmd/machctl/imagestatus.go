package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machine1"
)

// imageLookVerbs show one image, where list-images shows all.
func (a *app) imageLookVerbs() []verbRow {
	return []verbRow{
		{
			use: "image-status [NAME…]", short: "Show what an image is", max: -1, run: a.imageStatus, group: groupImages,
			options: objectOptions, words: words{wordImage}, columns: describeImage,
			long:     "Without NAME, it is the place where images are.",
			examples: []example{{"machctl image-status c8-ns", "what is in it, and how much it takes"}},
		},
		{
			use: "show-image [NAME…]", short: "Show properties of an image", max: -1, run: a.showImage, group: groupImages,
			options: "property value print all " + objectOptions, words: words{wordImage},
			long:     "Properties come one a line, as NAME=VALUE; without NAME, those of the place where images are.",
			examples: []example{{"machctl show-image c8-ns -P Path", "one value, for scripts"}},
		},
	}
}

// showImage prints properties of images, or of the daemon if none is named.
func (a *app) showImage(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return a.show(ctx, nil)
	}
	if err := a.connect(ctx); err != nil {
		return err
	}
	return a.showEach(names, func(name string) ([]machine1.Property, error) {
		ctx, cancel := a.limit(ctx)
		defer cancel()
		properties, err := a.client.ImageProperties(ctx, name)
		return properties, imageLookupError(err)
	})
}

// imageLookupError puts it that an image is unknown in the words that scripts
// look for.
func imageLookupError(err error) error {
	var remote *machine1.RemoteError
	if errors.Is(err, machine1.ErrNoSuchImage) && errors.As(err, &remote) {
		return machine1.Errorf(machine1.ErrNoSuchImage, "Could not get path to image: %s", remote)
	}
	return err
}

// An imageReport is what image-status tells of an image. What could not be
// learnt is zero.
type imageReport struct {
	client.Image
	hostname, deployment, os string
	id                       [16]byte
}

// imageStatus shows each image as a block for people, or where images are.
func (a *app) imageStatus(ctx context.Context, names []string) error {
	if err := a.connect(ctx); err != nil {
		return err
	}
	if len(names) == 0 {
		return a.poolStatus(ctx)
	}
	reports, err := gather(a, names, func(name string) (*imageReport, error) {
		ctx, cancel := a.limit(ctx)
		defer cancel()
		return a.imageReport(ctx, name)
	})
	objects, blocks := make([]object, len(reports)), make([]string, len(reports))
	for i, r := range reports {
		objects[i], blocks[i] = r.object(), r.text(a)
	}
	done, printErr := a.printObjects(objects)
	if !done {
		a.ui.page(strings.Join(blocks, "\n"))
	}
	return join(err, printErr)
}

func (a *app) poolStatus(ctx context.Context) error {
	ctx, cancel := a.limit(ctx)
	defer cancel()
	pool, err := a.client.Pool(ctx)
	if err != nil {
		return err
	}
	done, err := a.printObjects([]object{{
		{"path", jsonValue(pool.Path)}, {"usage", numberOf(pool.Usage)}, {"limit", numberOf(pool.Limit)},
	}})
	if done {
		return err
	}
	b := &block{}
	if pool.Path != "" {
		b.row("Path", pool.Path)
	}
	b.bytes("Usage", pool.Usage, client.Unknown)
	b.bytes("Limit", pool.Limit, client.Unknown)
	a.ui.page(b.String())
	return nil
}

// imageReport asks for all of it at the same time. Only that the image is unknown
// is an error.
func (a *app) imageReport(ctx context.Context, name string) (*imageReport, error) {
	image, err := a.client.Image(ctx, name)
	if err != nil {
		return nil, imageLookupError(err)
	}
	r := &imageReport{Image: image}
	var asked sync.WaitGroup
	asked.Go(func() { r.hostname, _ = a.client.ImageHostname(ctx, name) })
	asked.Go(func() { r.id, _ = a.client.ImageMachineID(ctx, name) })
	asked.Go(func() {
		if info, err := a.client.ImageMachineInfo(ctx, name); err == nil {
			r.deployment = info["DEPLOYMENT"]
		}
	})
	asked.Go(func() {
		if release, err := a.client.ImageOSRelease(ctx, name); err == nil {
			r.os = release["PRETTY_NAME"]
		}
	})
	asked.Wait()
	return r, nil
}

// numberOf is a number of bytes for programs, null if nobody can tell.
func numberOf(bytes uint64) any {
	if bytes == client.Unknown {
		return nil
	}
	return bytes
}

// object is r for programs.
func (r *imageReport) object() object {
	return object{
		{"name", r.Name}, {"type", r.Type}, {"path", jsonValue(r.Path)}, {"read_only", r.ReadOnly},
		{"hostname", jsonValue(r.hostname)}, {"machine_id", jsonValue(machineID(r.id))},
		{"deployment", jsonValue(r.deployment)}, {"os", jsonValue(r.os)},
		{"created", jsonValue(r.Created)}, {"modified", jsonValue(r.Modified)},
		{"usage", numberOf(r.Usage)}, {"usage_exclusive", numberOf(r.UsageExclusive)},
		{"limit", numberOf(r.Limit)}, {"limit_exclusive", numberOf(r.LimitExclusive)},
	}
}

// text is r for people, as the stock command has it.
func (r *imageReport) text(a *app) string {
	b := &block{}
	b.WriteString(printable(r.Name) + "\n")
	for _, row := range []struct{ label, value string }{
		{"Type", r.Type}, {"Path", r.Path}, {"Hostname", r.hostname}, {"Machine ID", machineID(r.id)},
		{"Deployment", r.deployment}, {"OS", r.os},
	} {
		if row.value != "" {
			b.row(row.label, row.value)
		}
	}
	if r.ReadOnly {
		b.WriteString("\t      RO: " + a.ui.styled("read-only", styleRed) + "\n")
	} else {
		b.row("RO", "writable")
	}
	for _, row := range []struct {
		label string
		when  time.Time
	}{{"Created", r.Created}, {"Modified", r.Modified}} {
		if !row.when.IsZero() {
			b.row(row.label, timestamp(row.when)+"; "+ago(row.when, time.Now()))
		}
	}
	b.bytes("Usage", r.Usage, r.UsageExclusive)
	b.bytes("Limit", r.Limit, r.LimitExclusive)
	return b.String()
}

// bytes is a row with a number of bytes, and how many of them are shared with
// nothing, if that is known and another number.
func (b *block) bytes(label string, all, exclusive uint64) {
	switch {
	case all == client.Unknown:
	case exclusive == client.Unknown || exclusive == all:
		b.row(label, size(all))
	default:
		b.row(label, size(all)+" (exclusive: "+size(exclusive)+")")
	}
}
