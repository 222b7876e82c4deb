package busapi

import "github.com/machd/machd/daemon/internal/vtable"

// execRows run commands in machines.
var execRows = []vtable.Method{}

// execMachineRows is the same on a machine's object.
var execMachineRows = []vtable.Method{}
