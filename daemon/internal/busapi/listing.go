package busapi

import (
	"context"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machine1"
)

// A listing is the answer to ListMachines for one View.
type listing struct {
	view *machine.View
	rows vtable.Encoded[[]machine1.ListedMachine]
}

// listMachines encodes the answer once for all who ask before the next change.
func listMachines(_ context.Context, _ *vtable.Call, a *API) (vtable.Encoded[[]machine1.ListedMachine], error) {
	view := a.machines.View()
	if known := a.listing.Load(); known != nil && known.view == view {
		return known.rows, nil
	}
	rows := make([]machine1.ListedMachine, 0, view.Len())
	for m := range view.All() {
		rows = append(rows, listed(m))
	}
	encoded, err := vtable.Encode(rows)
	if err == nil {
		a.listing.Store(&listing{view, encoded})
	}
	return encoded, err
}
