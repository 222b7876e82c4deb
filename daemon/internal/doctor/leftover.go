package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/nftables"

	"github.com/machd/machd/pkg/machine1"
)

// settling is how long a machine that comes or goes may have a link without being
// known, or be known without it.
const settling = 300 * time.Millisecond

// checkLeftovers looks for what ended machines have left of their networks.
func checkLeftovers(_ context.Context, v *visit) (found []finding, applies bool) {
	if found = v.staleLinks(); len(found) > 0 {
		time.Sleep(settling)
		found = v.Doctor.newVisit().staleLinks()
	}
	found = append(found, v.staleTable()...)
	return append(found, v.staleRecords()...), true
}

// staleLinks are links of machines that no machine has. Whoever is starting one,
// or runs it without telling anybody, has made it: it is not ours to remove.
func (v *visit) staleLinks() (found []finding) {
	h, err := v.links()
	if err != nil {
		return unknown("the links of the host", err)
	}
	known := map[string]bool{}
	indexes := map[int]bool{}
	for _, a := range v.attachments {
		known[a.Link], known[a.Port] = true, true
	}
	for _, m := range v.machines {
		for _, i := range m.NetworkInterfaces {
			indexes[int(i)] = true
		}
	}
	for _, link := range h.all {
		a := link.Attrs()
		switch {
		case a.Name == injectorName || a.Name == injectorPeer:
			if a.Name == injectorName {
				found = append(found, doubt("the link "+a.Name+" was left by a diagnosis", "The daemon was killed meanwhile.", "ip link delete "+a.Name).
					about(a.Name).mendedBy(func(context.Context) error { return v.removeLink(a.Name) }))
			}
		case !ofMachine(a.Name) || known[a.Name] || indexes[a.Index]:
		case len(v.starting) > 0:
		case strings.HasPrefix(a.Name, "vz-") && h.inUse(a.Index):
		default:
			found = append(found, doubt(fmt.Sprintf("no machine has the link %s", a.Name),
				"Its machine has ended, starts just now, or runs without being registered.", "ip link delete "+a.Name).about(a.Name))
		}
	}
	return found
}

// inUse reports whether a link is in the bridge of that index.
func (l *links) inUse(bridge int) bool {
	for _, link := range l.all {
		if link.Attrs().MasterIndex == bridge {
			return true
		}
	}
	return false
}

func (v *visit) removeLink(name string) error {
	h, err := v.cfg.Host.kernel()
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	return h.LinkDel(link)
}

// staleTable is the table of a diagnosis that was not ended. Only one goes on at
// a time, and this one has not begun to trace.
func (v *visit) staleTable() (found []finding) {
	r, err := v.rules()
	if err != nil || !r.has(nftables.TableFamilyINet, traceTableName, "") {
		return nil
	}
	return []finding{doubt("the table inet "+traceTableName+" was left by a diagnosis", "The daemon was killed meanwhile.",
		"nft delete table inet "+traceTableName).about(traceTableName).mendedBy(func(context.Context) error { return removeTraceTable(v.cfg.Host) })}
}

// staleRecords are what is written down of networks of machines that are neither
// there nor starting.
func (v *visit) staleRecords() (found []finding) {
	entries, err := os.ReadDir(v.cfg.Paths.Records)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return unknown(v.cfg.Paths.Records, err)
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || !machine1.ValidMachineName(name) || v.knows(name) || v.starting[name] {
			continue
		}
		path := filepath.Join(v.cfg.Paths.Records, e.Name())
		found = append(found, doubt(fmt.Sprintf("the network of %s is still written down, and there is no such machine", name),
			"Its addresses are kept from others.", "rm "+path+" && systemctl restart machd").about(path))
	}
	return found
}

// knows reports whether a machine is registered.
func (v *visit) knows(name string) bool {
	for _, m := range v.machines {
		if m.Name == name {
			return true
		}
	}
	return false
}
