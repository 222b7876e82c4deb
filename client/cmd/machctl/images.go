package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/machd/machd/client"
	"github.com/machd/machd/client/internal/table"
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
	return printList(a, imageList(), images)
}

// imageList is what list-images tells. The table is the stock command's.
func imageList() listing[client.Image] {
	type image = client.Image
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
			{key: "path", head: "PATH", value: func(i image) any { return i.Path }, shown: wide},
		},
	}
}

func readOnlyCell(i client.Image) table.Cell {
	if i.ReadOnly {
		return table.Cell{Text: "yes", Style: styleRed}
	}
	return table.Cell{Text: "no"}
}

// usageCell is blank for what is unknown, as the stock command has it.
func usageCell(i client.Image) table.Cell {
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

func imagesJSON(images []client.Image) []imageJSON {
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
