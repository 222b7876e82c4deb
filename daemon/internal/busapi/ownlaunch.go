package busapi

import (
	"slices"

	"github.com/machd/machd/daemon/internal/vtable"
)

// launchRows start machines and set their limits.
var launchRows = slices.Concat(startRows)

// launchMachineRows is the same on a machine's object.
var launchMachineRows = []vtable.Method{}
