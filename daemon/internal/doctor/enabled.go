package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/machd/machd/daemon/internal/launch"
	"github.com/machd/machd/pkg/machine1"
)

// checkEnabled looks for machines that start with the host and have no image. A
// unit that an administrator tells what to run may do without.
func checkEnabled(ctx context.Context, v *visit) (found []finding, applies bool) {
	if v.cfg.LookForImage == nil {
		return nil, false
	}
	units := map[string][]string{}
	for _, e := range (launch.UnitFiles{Dir: v.cfg.Paths.Units}).Enabled() {
		if !e.Own(v.cfg.Paths.Units) && !slices.Contains(units[e.Machine], e.Unit) {
			units[e.Machine] = append(units[e.Machine], e.Unit)
		}
	}
	for name, enabled := range units {
		switch err := v.cfg.LookForImage(ctx, name); {
		case errors.Is(err, machine1.ErrNoSuchImage):
			found = append(found, doubt(fmt.Sprintf("%s would start with the host, and there is no image %s", strings.Join(enabled, " and "), name),
				"The image was removed, or renamed by somebody else. What starts it fails at boot, and the next image of that name starts unasked.",
				"systemctl disable "+strings.Join(enabled, " ")).about(name))
		case err != nil:
			found = append(found, unknown("the image "+name, err)...)
		}
	}
	slices.SortFunc(found, func(a, b finding) int { return strings.Compare(a.What, b.What) })
	return found, true
}
