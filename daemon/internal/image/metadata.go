package image

import (
	"context"
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/daemon/internal/dissect"
	"github.com/machd/machd/daemon/internal/envfile"
	"github.com/machd/machd/daemon/internal/imagelock"
	"github.com/machd/machd/daemon/internal/rootfs"
	"github.com/machd/machd/pkg/machine1"
)

// Metadata is what an image says about itself. What it does not say, or says
// in a way that cannot be read, is zero.
type Metadata struct {
	Hostname    string
	MachineID   [16]byte
	MachineInfo envfile.List // /etc/machine-info, in order
	OSRelease   envfile.List // os-release, in order
}

// maxMetadataFile is more than anybody has put into such a file, bytes.
const maxMetadataFile = 1 << 20

// Metadata reads what i says about itself. It fails with EBUSY while a machine
// runs from the image, and with EOPNOTSUPP for a stack of layers.
//
// Reference: discover-image.c, image_read_metadata.
func (s *Store) Metadata(ctx context.Context, i Image) (Metadata, error) {
	m, err := s.metadata(ctx, i)
	if err != nil {
		return Metadata{}, machine1.Errorf(err, "Failed to read image metadata: %v", err)
	}
	return m, nil
}

func (s *Store) metadata(ctx context.Context, i Image) (Metadata, error) {
	read, limit := readTree, s.limit
	switch i.Type {
	case TypeMStack:
		return Metadata{}, errType(i, "looked into")
	case TypeRaw, TypeBlock:
		read, limit = readDisk, dissect.Limit
	}
	return withinLimit(ctx, s, limit, func(ctx context.Context) (Metadata, error) {
		lock, err := imagelock.Path(s.cfg.LockDir, i.Path, false)
		if errors.Is(err, unix.EBUSY) {
			return Metadata{}, errInUse(i)
		}
		if err != nil {
			return Metadata{}, err
		}
		defer lock.Release()
		return read(ctx, i.Path)
	})
}

func readTree(_ context.Context, path string) (Metadata, error) {
	root, err := rootfs.Open(path)
	if err != nil {
		return Metadata{}, err
	}
	defer root.Close()
	return readMetadata(root), nil
}

func readMetadata(root *os.File) Metadata {
	read := func(paths ...string) string {
		for _, path := range paths {
			text, err := rootfs.ReadFile(root, path, maxMetadataFile)
			if err == nil {
				return string(text)
			}
			if !errors.Is(err, unix.ENOENT) {
				break
			}
		}
		return ""
	}
	assignments := func(paths ...string) envfile.List {
		list, err := envfile.Parse([]byte(read(paths...)))
		if err != nil {
			return nil
		}
		return list
	}
	return Metadata{
		Hostname:    parseHostname(read("etc/hostname")),
		MachineID:   parseMachineID(read("etc/machine-id")),
		MachineInfo: assignments("etc/machine-info"),
		OSRelease:   assignments("etc/os-release", "usr/lib/os-release"),
	}
}

// parseAssignments reads KEY=value texts whose values need no more parsing.
func parseAssignments(texts []string) (list envfile.List) {
	for _, text := range texts {
		if key, value, ok := strings.Cut(text, "="); ok {
			list = append(list, envfile.Assignment{Key: key, Value: value})
		}
	}
	return list
}
