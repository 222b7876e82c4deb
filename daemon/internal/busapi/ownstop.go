package busapi

import "github.com/machd/machd/daemon/internal/vtable"

// stopRows end machines and wait for them.
var stopRows = []vtable.Method{}

// stopMachineRows is the same on a machine's object.
var stopMachineRows = []vtable.Method{}
