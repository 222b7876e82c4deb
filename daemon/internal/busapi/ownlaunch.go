package busapi

import "github.com/machd/machd/daemon/internal/vtable"

// launchRows start machines and set their limits.
var launchRows = []vtable.Method{}

// launchMachineRows is the same on a machine's object.
var launchMachineRows = []vtable.Method{}
