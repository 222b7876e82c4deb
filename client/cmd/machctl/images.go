package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/machd/machd/client"
	"github.com/machd/machd/client/internal/table"
	"github.com/machd/machd/pkg/machd"
)

// listImages shows the images there are.
func (a *app) listImages(ctx context.Context, _ []string) error {
	if err := imageList().check(a.options); err != nil {
		return err
	}
	if err := a.connect(ctx); err != nil {
		return err
	}
	ctx, cancel := a.limit(ctx)
	defer cancel()
	images, err := a.client.Images(ctx)
	if err != nil {
		return err
	}
	if !a.all {
		images = slices.DeleteFunc(images, func(i client.Image) bool { return strings.HasPrefix(i.Name, ".") })
	}
	rows := imageRows(images)
	if !a.asUsual() {
		a.findDetails(ctx, rows)
		_ = a.findUsers(ctx, rows) // they are unknown then
	}
	return printList(a, imageList(), rows)
}

func imageRows(images []client.Image) []imageRow {
	rows := make([]imageRow, len(images))
	for i, image := range images {
		rows[i].Image = image
	}
	return rows
}

// findDetails asks about each image for what no list tells. One that is gone
// meanwhile stays as it was listed.
func (a *app) findDetails(ctx context.Context, rows []imageRow) {
	names := make([]string, len(rows))
	at := map[string]*imageRow{}
	for i := range rows {
		names[i] = rows[i].Name
		at[rows[i].Name] = &rows[i]
	}
	found, _ := gather(a, names, func(name string) (client.Image, error) { return a.client.Image(ctx, name) })
	for _, image := range found {
		at[image.Name].Image = image
	}
}

// An imageRow is an image and the machines that run from it, nil if nobody has
// asked or nobody tells.
type imageRow struct {
	client.Image
	machines []string
}

// findUsers says of each image which machines run from it: from its directory, from
// a root above it, or, as a disk's machines tell no directory, under its name.
func (a *app) findUsers(ctx context.Context, rows []imageRow) error {
	machines, err := a.client.Machines(ctx, client.OverviewQuery{Patience: a.timeout.or(listTimeout), Properties: true})
	if err != nil {
		return err
	}
	below := a.throwawayImages(ctx, machines)
	for i := range rows {
		row := &rows[i]
		row.machines = []string{}
		for _, m := range machines {
			runs := m.RootDirectory != "" && m.RootDirectory == row.Path || m.RootDirectory == "" && m.Name == row.Name
			// Of a subvolume a root that is thrown away is a snapshot.
			if runs || below[m.Name] != "" && below[m.Name] == row.Path && row.Type != "subvolume" {
				row.machines = append(row.machines, m.Name)
			}
		}
	}
	return nil
}

// throwawayImages returns the paths of the images that machines have their roots
// of which are thrown away, by the machine's name. One that has ended has none.
func (a *app) throwawayImages(ctx context.Context, machines []client.ListedDetail) map[string]string {
	below := map[string]string{}
	for _, m := range machines {
		if !machd.IsThrowaway(m.RootDirectory) || m.Unit == "" {
			continue
		}
		if image, err := a.client.ThrowawayImage(ctx, m.Unit); err == nil {
			below[m.Name] = image
		}
	}
	return below
}

// imageList is what list-images tells. The table is the stock command's.
func imageList() listing[imageRow] {
	type image = imageRow
	return listing[image]{
		what:      "images",
		stockJSON: func(rows []image) any { return imagesJSON(rows) },
		columns: []column[image]{
			{key: "name", head: "NAME", value: func(i image) any { return i.Name }, keep: true},
			{key: "type", head: "TYPE", value: func(i image) any { return i.Type }},
			{key: "read_only", head: "RO", value: func(i image) any { return i.ReadOnly }, cell: readOnlyCell},
			{key: "usage", head: "USAGE", value: func(i image) any { return knownBytes(i.Usage) }, cell: usageCell, right: true},
			{key: "created", head: "CREATED", value: func(i image) any { return i.Created }},
			{key: "modified", head: "MODIFIED", value: func(i image) any { return i.Modified }},
			{key: "limit", head: "LIMIT", value: func(i image) any { return knownBytes(i.Limit) }, right: true, shown: asked},
			{key: "machines", head: "MACHINES", value: usersOf, shown: wide},
			{key: "path", head: "PATH", value: func(i image) any { return i.Path }, shown: wide},
		},
	}
}

func usersOf(i imageRow) any {
	if i.machines == nil {
		return nil
	}
	return i.machines
}

func readOnlyCell(i imageRow) table.Cell {
	if i.ReadOnly {
		return table.Cell{Text: "yes", Style: styleRed}
	}
	return table.Cell{Text: "no"}
}

// usageCell is blank for what is unknown, as the stock command has it.
func usageCell(i imageRow) table.Cell {
	if i.Usage == client.Unknown {
		return table.Cell{}
	}
	return table.Cell{Text: size(i.Usage)}
}

// knownBytes is a number of bytes as a column's value.
func knownBytes(n uint64) any {
	if n == client.Unknown {
		return nil
	}
	return n
}

// An imageJSON has exactly the fields of the reference: times are microseconds
// since the epoch, 0 if unknown.
type imageJSON struct {
	Name     string  `json:"name"`
	Type     string  `json:"type"`
	ReadOnly bool    `json:"ro"`
	Usage    *uint64 `json:"usage"`
	Created  int64   `json:"created"`
	Modified int64   `json:"modified"`
}

func imagesJSON(images []imageRow) []imageJSON {
	rows := []imageJSON{}
	for _, i := range images {
		row := imageJSON{Name: i.Name, Type: i.Type, ReadOnly: i.ReadOnly, Created: micros(i.Created), Modified: micros(i.Modified)}
		if i.Usage != client.Unknown {
			row.Usage = &i.Usage
		}
		rows = append(rows, row)
	}
	return rows
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}
