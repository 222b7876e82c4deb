package varlinkapi

import (
	"context"

	"github.com/machd/machd/daemon/internal/progress"
	"github.com/machd/machd/daemon/internal/varlink"
)

// progressOut is what methods tell that may take long.
var progressOut = varlink.Fields{
	{Name: "bytes", Doc: "Copied", Type: varlink.Int, Nullable: true},
	{Name: "files", Doc: "Copied or removed, all but directories", Type: varlink.Int, Nullable: true},
	{Name: "totalBytes", Doc: "In all, once somebody knows", Type: varlink.Int, Nullable: true},
	{Name: "totalFiles", Type: varlink.Int, Nullable: true},
}

// A progressRecord is one of a stream.
type progressRecord struct {
	Bytes      uint64 `json:"bytes"`
	Files      uint64 `json:"files"`
	TotalBytes uint64 `json:"totalBytes,omitempty"`
	TotalFiles uint64 `json:"totalFiles,omitempty"`
}

// following does what may take long. With 'more' it tells how far that is, ten
// times a second at most, and ends with an answer without anything.
func following(ctx context.Context, c *varlink.Call, do func(context.Context) error) (any, error) {
	if !c.More {
		return nil, do(ctx)
	}
	ctx, stop := progress.Watch(ctx, func(r progress.Report, changed bool) error {
		if !changed {
			return nil
		}
		return c.Notify(progressRecord(r))
	})
	err := do(ctx)
	stop() // or the answer would come in between
	return nil, err
}
