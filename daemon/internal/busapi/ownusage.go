package busapi

import "github.com/machd/machd/daemon/internal/vtable"

// usageRows tell what machines take of the host.
var usageRows = []vtable.Method{}

// usageMachineRows is the same on a machine's object.
var usageMachineRows = []vtable.Method{}
