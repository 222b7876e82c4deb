package varlinkapi

import (
	"context"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machd"
)

var usageType = varlink.Struct("Usage",
	varlink.Field{Name: "name", Type: varlink.String},
	varlink.Field{Name: "cpuUsec", Doc: "Processor time so far", Type: varlink.Int, Nullable: true},
	varlink.Field{Name: "memory", Doc: "Bytes now", Type: varlink.Int, Nullable: true},
	varlink.Field{Name: "tasks", Doc: "Threads now", Type: varlink.Int, Nullable: true},
	varlink.Field{Name: "ioRead", Doc: "Bytes from block devices so far", Type: varlink.Int, Nullable: true},
	varlink.Field{Name: "ioWrite", Doc: "Bytes to block devices so far", Type: varlink.Int, Nullable: true})

// usageMethods tell what machines take of the host.
var usageMethods = []varlink.Method[*API]{
	{
		Name: "ListUsage",
		Doc:  "Tells what each machine takes of the host; what the kernel does not count is left out",
		Out:  varlink.Fields{{Name: "machines", Type: varlink.Array(usageType)}},
		Func: listUsage,
	},
	{
		Name: "GetUsage",
		Doc:  "Tells the same of one machine",
		In:   onMachine(),
		Out:  varlink.Fields{{Name: "usage", Type: usageType}},
		Func: getUsage,
	},
}

type usageRecord struct {
	Name    string  `json:"name"`
	CPU     *uint64 `json:"cpuUsec,omitempty"`
	Memory  *uint64 `json:"memory,omitempty"`
	Tasks   *uint64 `json:"tasks,omitempty"`
	IORead  *uint64 `json:"ioRead,omitempty"`
	IOWrite *uint64 `json:"ioWrite,omitempty"`
}

// listUsage is open to everybody: the files it reads are.
func listUsage(ctx context.Context, a *API, _ *varlink.Call) (any, error) {
	list, err := a.Machines.Usage(ctx)
	if err != nil {
		return nil, err
	}
	machines := make([]usageRecord, len(list))
	for i, u := range list {
		machines[i] = usageRecordOf(u.Machine.Name, u.Usage)
	}
	return struct {
		Machines []usageRecord `json:"machines"`
	}{machines}, nil
}

func usageRecordOf(name string, u machd.Usage) usageRecord {
	return usageRecord{name, u.CPU, u.Memory, u.Tasks, u.IORead, u.IOWrite}
}

// getUsage is as open as listUsage.
func getUsage(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	m, err := a.find(ctx, c)
	if err != nil {
		return nil, err
	}
	u, err := machine.UsageOf(m)
	if err != nil {
		return nil, err
	}
	return struct {
		Usage usageRecord `json:"usage"`
	}{usageRecordOf(m.Name, u)}, nil
}
