package busapi

import (
	"context"

	"github.com/machd/machd/daemon/internal/access"
	"github.com/machd/machd/daemon/internal/vtable"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// Overview tells of machines at a glance; *overview.Viewer does.
type Overview interface {
	Of(ctx context.Context, names []string, o machd.OverviewOptions, denied error) ([]machd.MachineOverview, error)
}

// overviewRows are what lists of machines are made of.
var overviewRows = []vtable.Method{
	{
		Name: "ListOverview",
		Doc: "Tells of the machines that are named, or of all if none is, what there is to tell at a glance: name, class, service, ID, state, unit, subgroup, leader, supervisor, when it was registered, root directory, who registered it, links; `ID`, `VERSION_ID` and `PRETTY_NAME` of its os-release file, and the name of the error if that cannot be read; addresses, and likewise; link of the host, zone, ports that lead to it, services of the host that it has. " +
			"A machine that does not answer in time has the error `org.freedesktop.DBus.Error.Timeout` and costs the others nothing. Who may not look into machines gets all but os-release. A machine that is not there is left out.",
		In: "names options", Out: "machines", Access: machine1.ActionInspectMachines, Slow: true, Func: listOverview,
	},
}

func listOverview(ctx context.Context, c *vtable.Call, a *API, names []string, opts options) ([]machd.MachineOverview, error) {
	parsed, err := machd.ParseOverviewOptions(opts)
	if err != nil {
		return nil, err
	}
	denied := a.ask(ctx, c, access.OSRelease, access.OverviewDetails(names))
	return a.overview.Of(ctx, names, parsed, denied)
}
