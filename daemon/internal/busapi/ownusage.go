package busapi

import (
	"context"

	"github.com/godbus/dbus/v5"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/vtable"
)

// usageRows tell what machines take of the host.
var usageRows = []vtable.Method{
	{
		Name: "ListUsage",
		Doc:  "Tells what each machine takes of the host, as far as the kernel counts it: `cpu_usec`, `memory`, `tasks`, `io_read` and `io_write`, in microseconds, bytes and numbers.",
		Out:  "machines", Slow: true, Func: listUsage,
	},
	{
		Name: "GetUsage",
		Doc:  "Tells the same of one machine.",
		In:   "machine", Out: "usage", Slow: true, Func: ofMachine(getUsage),
	},
}

// usageMachineRows are the same on a machine's object.
var usageMachineRows = []vtable.Method{
	{
		Name: "GetUsage",
		Doc:  "As the Manager's.",
		Out:  "usage", Slow: true, Func: getUsage,
	},
}

// getUsage is as open as listUsage.
func getUsage(_ context.Context, _ *vtable.Call, o machineObject) (options, error) {
	u, err := machine.UsageOf(*o.machine)
	return u.Variants(), err
}

// listUsage is open to everybody: the files it reads are.
func listUsage(ctx context.Context, _ *vtable.Call, a *API) (map[string]options, error) {
	list, err := a.machines.Usage(ctx)
	if err != nil {
		return nil, err
	}
	machines := make(map[string]map[string]dbus.Variant, len(list))
	for _, u := range list {
		machines[u.Machine.Name] = u.Variants()
	}
	return machines, nil
}
