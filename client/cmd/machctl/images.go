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
	if a.json() {
		return a.printJSON(imagesJSON(images))
	}
	a.ui.print(a.drawList(imagesTable(images), "images"))
	return nil
}

func imagesTable(images []client.Image) *table.Table {
	t := &table.Table{
		Headers: []string{"NAME", "TYPE", "RO", "USAGE", "CREATED", "MODIFIED"},
		Right:   []bool{false, false, false, true, false, false},
	}
	for _, i := range images {
		readOnly, usage := table.Cell{Text: "no"}, table.Cell{}
		if i.ReadOnly {
			readOnly = table.Cell{Text: "yes", Style: styleRed}
		}
		if i.Usage != client.Unknown {
			usage.Text = size(i.Usage)
		}
		t.Rows = append(t.Rows, []table.Cell{
			cell(i.Name, nil), cell(i.Type, nil), readOnly, usage,
			cell(timestamp(i.Created), nil), cell(timestamp(i.Modified), nil),
		})
	}
	return t
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
