package varlinkapi

import (
	"context"
	"time"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// Overview tells of machines at a glance; *overview.Viewer does.
type Overview interface {
	Of(ctx context.Context, names []string, o machd.OverviewOptions, denied error) ([]machd.MachineOverview, error)
}

var overviewType = varlink.Struct("Overview",
	varlink.Field{Name: "name", Type: varlink.String},
	varlink.Field{Name: "class", Type: machineClass},
	varlink.Field{Name: "service", Type: varlink.String, Nullable: true},
	varlink.Field{Name: "id", Type: varlink.String, Nullable: true},
	varlink.Field{Name: "state", Type: varlink.String},
	varlink.Field{Name: "unit", Type: varlink.String, Nullable: true},
	varlink.Field{Name: "subgroup", Type: varlink.String, Nullable: true},
	varlink.Field{Name: "leader", Doc: "Its PID", Type: varlink.Int, Nullable: true},
	varlink.Field{Name: "supervisor", Doc: "Its PID", Type: varlink.Int, Nullable: true},
	varlink.Field{Name: "since", Doc: "When it was registered, in microseconds since the epoch", Type: varlink.Int, Nullable: true},
	varlink.Field{Name: "rootDirectory", Type: varlink.String, Nullable: true},
	varlink.Field{Name: "UID", Doc: "Who registered it", Type: varlink.Int},
	varlink.Field{Name: "interfaces", Doc: "Indices of links on the host's side", Type: varlink.Array(varlink.Int)},
	varlink.Field{Name: "osId", Doc: "ID of its os-release file", Type: varlink.String, Nullable: true},
	varlink.Field{Name: "osVersion", Doc: "VERSION_ID there", Type: varlink.String, Nullable: true},
	varlink.Field{Name: "osName", Doc: "PRETTY_NAME there", Type: varlink.String, Nullable: true},
	varlink.Field{Name: "osError", Doc: "Name of the D-Bus error if it cannot be read; org.freedesktop.DBus.Error.Timeout if the machine does not answer", Type: varlink.String, Nullable: true},
	varlink.Field{Name: "addresses", Doc: "The most useful first", Type: varlink.Array(varlink.String)},
	varlink.Field{Name: "addressError", Type: varlink.String, Nullable: true},
	varlink.Field{Name: "link", Doc: "Of the host, that leads to it", Type: varlink.String, Nullable: true},
	varlink.Field{Name: "zone", Type: varlink.String, Nullable: true},
	varlink.Field{Name: "ports", Doc: "That lead to it, as in AddPorts", Type: varlink.Array(varlink.String)},
	varlink.Field{Name: "inward", Doc: "Services of the host that it has, as in AddPorts", Type: varlink.Array(varlink.String)})

// overviewMethods are what lists of machines are made of.
var overviewMethods = []varlink.Method[*API]{
	{
		Name: "ListOverview",
		Doc:  "Tells of the machines that are named, or of all, what there is to tell at a glance. Who may not look into machines gets all but os-release",
		In: varlink.Fields{
			{Name: "names", Type: varlink.Array(varlink.String), Nullable: true},
			{Name: "patience", Doc: "How long one machine may take, in microseconds", Type: varlink.Int, Nullable: true, Valid: between(0, maxPatience)},
			{Name: "paused", Doc: "Look whether containers stand still as well, whose state is paused then", Type: varlink.Bool, Nullable: true},
			interactive,
		},
		Out:    varlink.Fields{{Name: "machines", Type: varlink.Array(overviewType)}},
		Access: machine1.ActionInspectMachines,
		Func:   listOverview,
	},
}

const maxPatience = int64(time.Minute / time.Microsecond)

type overviewRecord struct {
	Name          string   `json:"name"`
	Class         string   `json:"class"`
	Service       string   `json:"service,omitempty"`
	ID            string   `json:"id,omitempty"`
	State         string   `json:"state"`
	Unit          string   `json:"unit,omitempty"`
	Subgroup      string   `json:"subgroup,omitempty"`
	Leader        uint32   `json:"leader,omitempty"`
	Supervisor    uint32   `json:"supervisor,omitempty"`
	Since         uint64   `json:"since,omitempty"`
	RootDirectory string   `json:"rootDirectory,omitempty"`
	UID           uint32   `json:"UID"`
	Interfaces    []int32  `json:"interfaces"`
	OSID          string   `json:"osId,omitempty"`
	OSVersion     string   `json:"osVersion,omitempty"`
	OSName        string   `json:"osName,omitempty"`
	OSError       string   `json:"osError,omitempty"`
	Addresses     []string `json:"addresses"`
	AddressError  string   `json:"addressError,omitempty"`
	Link          string   `json:"link,omitempty"`
	Zone          string   `json:"zone,omitempty"`
	Ports         []string `json:"ports"`
	Inward        []string `json:"inward"`
}

func listOverview(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	names := c.In.Strings("names")
	o := machd.OverviewOptions{Patience: time.Duration(c.In.Int("patience")) * time.Microsecond, Paused: c.In.Bool("paused")}
	denied := a.ask(ctx, c, access.OSRelease, access.OverviewDetails(names))
	list, err := a.Overview.Of(ctx, names, o, denied)
	if err != nil {
		return nil, err
	}
	machines := make([]overviewRecord, len(list))
	for i, m := range list {
		r := overviewRecord(m)
		r.Interfaces = append([]int32{}, r.Interfaces...)
		for _, texts := range []*[]string{&r.Addresses, &r.Ports, &r.Inward} {
			*texts = append([]string{}, *texts...) // an empty array, not null
		}
		machines[i] = r
	}
	return struct {
		Machines []overviewRecord `json:"machines"`
	}{machines}, nil
}
