package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machine1"
)

// imageUsers returns the machines that run from an image, as far as the daemon
// tells. An image that is not there has none, and there are none where no daemon
// runs.
func (a *app) imageUsers(ctx context.Context, name string) ([]string, error) {
	ctx, cancel := a.limit(ctx)
	defer cancel()
	image, err := a.client.Silent().Image(ctx, name)
	if errors.Is(err, machine1.ErrNoSuchImage) || errors.Is(err, machine1.ErrServiceUnknown) {
		return nil, nil
	}
	rows := []imageRow{{Image: image}}
	if err == nil {
		err = a.findUsers(ctx, rows)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot tell whether image %q is in use: %w", name, err)
	}
	return rows[0].machines, nil
}

// withUsers finds the machines that run from each of several images.
func (a *app) withUsers(ctx context.Context, images []client.Image) ([]imageRow, error) {
	ctx, cancel := a.limit(ctx)
	defer cancel()
	rows := imageRows(images)
	a.findDetails(ctx, rows)
	return rows, a.findUsers(ctx, rows)
}

// mayReplace refuses to have an image replaced that machines run from: their root
// would be taken away from below them. systemd-importd heeds no lock.
func (a *app) mayReplace(ctx context.Context, x transfer) error {
	if a.stock || !a.force || x.image == "" || a.imageClass() != client.ClassMachine {
		return nil
	}
	machines, err := a.imageUsers(ctx, x.image)
	if err == nil {
		err = errInUse(x.image, machines)
	}
	if err != nil {
		return fmt.Errorf("cannot %s %s: %w", strings.TrimSuffix(x.verb, "ing"), x.from, err)
	}
	return nil
}

// errInUse says that an image has to stay as it is because of the machines that
// run from it. It is nil if there are none.
func errInUse(name string, machines []string) error {
	switch len(machines) {
	case 0:
		return nil
	case 1:
		err := machine1.Errorf(unix.EBUSY, "image %q is in use by machine %s", name, machines[0])
		return &hintedError{err, fmt.Sprintf(`"machctl stop %s" ends it first`, machines[0])}
	}
	err := machine1.Errorf(unix.EBUSY, "image %q is in use by machines %s", name, strings.Join(machines, ", "))
	return &hintedError{err, fmt.Sprintf(`"machctl stop %s" ends them first`, strings.Join(machines, " "))}
}
