package doctor

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/machd/machd/pkg/machd"
)

// A check looks for one thing that can be wrong with T. It returns what it
// found, and whether there was anything to look at. Its line says how it is
// where nothing was found.
type check[T any] struct {
	name string
	well string
	look func(context.Context, T) (found []finding, applies bool)
}

// hostChecks are of what all machines share, and of what ended ones have left.
var hostChecks = []check[*visit]{
	{"table", "machd's table of rules is there", checkTable},
	{"firewall", "no chain drops what is to be forwarded unless it is accepted", checkFirewall},
	{"clash", "no address and no network is there twice", checkClash},
	{"names", "a name server of the host answers", checkNames},
	{"conntrack", "the kernel can follow more connections", checkConntrack},
	{"leftover", "ended machines have left nothing of their networks", checkLeftovers},
	{"state", "every state file is of a machine", checkStates},
	{"scope", "every scope is of a machine", lasting(checkScopes)},
	{"lock", "every lock of an image is somebody's", lasting(checkLocks)},
	{"export", "no mount of an ended machine is left", lasting(checkExports)},
	{"enabled", "every machine that starts with the host has an image", checkEnabled},
}

// quietChecks look at a machine without sending anything.
var quietChecks = []check[*patient]{
	{"leader", "its leader lives", checkLeader},
	{"link", "its link is up at both ends", checkLink},
	{"address", "both ends of its link have their addresses", checkAddress},
	{"route", "it has a default route", checkRoute},
	{"return", "packets for it are sent to it", checkReturn},
	{"forwarding", "the kernel forwards its packets", checkForwarding},
	{"mtu", "packets of any size pass its link", checkMTU},
}

// livelyChecks send packets. They are made where the quiet ones found no error:
// of a link that is down nothing else would be learned.
var livelyChecks = []check[*patient]{
	{"neighbour", "it alone answers for its addresses", checkNeighbour},
	{"dhcp", "it is offered its own address by DHCP", checkDHCP},
	{"router", "a router answers it by IPv6", checkRouter},
	{"dns", "its questions for names are answered", checkDNS},
	{"way-out", "its packets leave the host with an address of the host", checkWayOut},
	{"guard", "it does not reach the host's 127.0.0.1", checkGuard},
	{"sender", "what it sends from its other addresses is let in", checkSender},
	{"port", "its ports answer by every way", checkPorts},
	{"inward", "it finds services of the host at its gateway", checkInward},
}

// examine makes all checks of a machine.
func (p *patient) examine(ctx context.Context) []finding {
	if ctx.Err() != nil { // one line is enough of each of many machines
		return []finding{doubt("there was no time left to look at it", "", "machctl doctor "+p.Name).about(p.Name)}
	}
	ctx, cancel := context.WithTimeout(ctx, machineLimit)
	defer cancel()
	found := run(ctx, p, &p.checks, p.Name, quietChecks)
	if slices.ContainsFunc(found, func(f finding) bool { return f.Level == machd.LevelError }) {
		return found
	}
	return append(found, run(ctx, p, &p.checks, p.Name, livelyChecks)...)
}

// run makes the checks side by side and returns what they found in their order.
// Of one that is not through in time only that is known; it ends by itself, and
// is done with running then.
func run[T any](ctx context.Context, of T, running *sync.WaitGroup, subject string, checks []check[T]) []finding {
	results := make([]chan []finding, len(checks))
	for i, c := range checks {
		results[i] = make(chan []finding, 1)
		running.Go(func() { results[i] <- c.result(ctx, of, subject) })
	}
	var list []finding
	for i, c := range checks {
		select {
		case found := <-results[i]:
			list = append(list, found...)
		case <-late(ctx):
			f := doubt("this could not be checked in time", "The host is busy, or something in the kernel or the machine does not answer.", "")
			f.Check, f.Subject = c.name, subject
			list = append(list, f)
		}
	}
	return list
}

const (
	// patience is how long a machine that is being registered may look as if it
	// were none, unless it has to wait for its disk.
	patience      = 3 * time.Second
	patiencePause = 100 * time.Millisecond
)

// lasting has a check of what belongs to no machine look again for a while, and
// tell what was there all the time: a machine may be registered in this moment.
// What can be mended is not waited for, as whoever mends it looks again.
func lasting(look func(context.Context, *visit) ([]finding, bool)) func(context.Context, *visit) ([]finding, bool) {
	return func(ctx context.Context, v *visit) (found []finding, applies bool) {
		over := time.Now().Add(v.patience)
		for found, applies = look(ctx, v); slices.ContainsFunc(found, isForSomebody) && time.Now().Before(over); {
			select {
			case <-time.After(patiencePause):
			case <-ctx.Done():
				return found, applies
			}
			now, _ := look(ctx, v)
			found = slices.DeleteFunc(now, func(f finding) bool {
				return !slices.ContainsFunc(found, func(before finding) bool { return before.What == f.What })
			})
		}
		return found, applies
	}
}

// isForSomebody reports whether a finding leaves it to a person what is done.
func isForSomebody(f finding) bool { return f.mend == nil }

// grace is what a check has to tell what it found when its time is over.
const grace = 200 * time.Millisecond

// late is closed a moment after ctx is over.
func late(ctx context.Context) <-chan struct{} {
	c := make(chan struct{})
	context.AfterFunc(ctx, func() { time.AfterFunc(grace, func() { close(c) }) })
	return c
}

func (c check[T]) result(ctx context.Context, of T, subject string) []finding {
	found, applies := c.look(ctx, of)
	if !applies {
		return nil
	}
	for i := range found {
		f := &found[i]
		f.Check = c.name
		if f.Subject == "" {
			f.Subject = subject
		}
		if f.Level == "" {
			f.Level = machd.LevelError
		}
		f.Safe = f.mend != nil
	}
	if len(found) == 0 {
		return []finding{{Finding: machd.Finding{Check: c.name, Subject: subject, Level: machd.LevelOK, What: c.well}}}
	}
	return found
}
