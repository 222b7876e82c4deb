package varlinkapi

import (
	"context"
	"encoding/hex"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/image"
	"github.com/machd/machd/daemon/internal/varlink"
)

// An imageRecord is one image as List shows it. What is not known is left out.
type imageRecord struct {
	Name           string     `json:"name"`
	Path           string     `json:"path,omitempty"`
	Type           image.Type `json:"type"`
	Class          string     `json:"class"`
	ReadOnly       bool       `json:"readOnly"`
	Created        uint64     `json:"creationTimestamp,omitempty"`
	Modified       uint64     `json:"modificationTimestamp,omitempty"`
	Usage          *uint64    `json:"usage,omitempty"`
	UsageExclusive *uint64    `json:"usageExclusive,omitempty"`
	Limit          *uint64    `json:"limit,omitempty"`
	LimitExclusive *uint64    `json:"limitExclusive,omitempty"`
	Hostname       string     `json:"hostname,omitempty"`
	MachineID      string     `json:"machineId,omitempty"`
	MachineInfo    []string   `json:"machineInfo,omitempty"`
	OSRelease      []string   `json:"OSRelease,omitempty"`
}

// listImages answers with the one image the caller names, or with all.
//
// Reference: image-varlink.c, vl_method_list_images.
func listImages(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	if wantsMetadata(c) {
		if err := a.ask(ctx, c, access.InspectImage, map[string]string{"name": nameOrNone(c)}); err != nil {
			return nil, err
		}
	}
	if c.In.Has("name") {
		i, err := a.Images.Get(ctx, c.In.String("name"))
		if err != nil {
			return nil, err
		}
		return a.describeImage(ctx, c, i)
	}
	if !c.More {
		return nil, varlink.ErrExpectedMore
	}
	images, err := a.Images.List(ctx)
	if err != nil {
		return nil, err
	}
	if len(images) == 0 {
		return nil, errNoSuchImage
	}
	for _, i := range images {
		r, err := a.describeImage(ctx, c, i)
		if err != nil {
			return nil, err
		}
		if err := c.Emit(r); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (a *API) describeImage(ctx context.Context, c *varlink.Call, i image.Image) (*imageRecord, error) {
	r := &imageRecord{
		Name:           i.Name,
		Path:           i.Path,
		Type:           i.Type,
		Class:          "machine",
		ReadOnly:       i.ReadOnly,
		Created:        i.Created,
		Modified:       i.Modified,
		Usage:          bytes(i.Usage),
		UsageExclusive: bytes(i.UsageExclusive),
		Limit:          bytes(i.Limit),
		LimitExclusive: bytes(i.LimitExclusive),
	}
	if !wantsMetadata(c) {
		return r, nil
	}
	m, err := a.Images.Metadata(ctx, i)
	switch {
	case err != nil && c.In.String("acquireMetadata") == metadataGraceful:
		return r, nil
	case err != nil:
		return nil, err
	}
	r.Hostname = m.Hostname
	if m.MachineID != [16]byte{} {
		r.MachineID = hex.EncodeToString(m.MachineID[:])
	}
	r.MachineInfo = assignments(m.MachineInfo)
	r.OSRelease = assignments(m.OSRelease)
	return r, nil
}

// bytes is n, nil if it is not known.
func bytes(n uint64) *uint64 {
	if n == image.Unknown {
		return nil
	}
	return &n
}

type cleaned struct {
	Name  string  `json:"name"`
	Usage *uint64 `json:"usageExclusive,omitempty"`
}

// cleanPool tells of each image once it is gone. A caller who hangs up is told
// nothing more, but what he asked for is done.
//
// Reference: image-varlink.c, vl_method_clean_pool.
func cleanPool(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	if a.Operations.Full() {
		return nil, errTooManyOperations
	}
	mode := c.In.String("mode")
	if err := a.ask(ctx, c, access.VarlinkCleanPool, map[string]string{"mode": mode}); err != nil {
		return nil, err
	}
	ctx, end, err := a.begin(varlink.Detach(ctx))
	if err != nil {
		return nil, err
	}
	defer end()
	removed, listening := 0, true
	err = a.Images.Clean(ctx, image.CleanMode(mode), func(r image.Removed) {
		removed++
		listening = listening && c.Emit(cleaned{r.Name, bytes(r.Usage)}) == nil
	})
	if err == nil && removed == 0 {
		err = errNoSuchImage
	}
	return nil, err
}
