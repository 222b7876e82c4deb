package network

import (
	"cmp"
	"encoding/json"
	"iter"
	"slices"

	"github.com/machd/machd/pkg/machd"
)

// A portList is ports without repetition, kept and written as runs of such that
// follow one another: ten thousand ports take little more than ten. It is a value
// that does not change.
type portList []portRun

// A portRun is n ports, machd.MaxPorts at most, the first of which is first.
type portRun struct {
	first machd.Port
	n     int
}

// listOf returns the list of ports.
func listOf(ports []machd.Port) portList { return portList(nil).with(ports...) }

// at returns the port at i of the run, which may be beyond its end. There is none
// beyond the last one of all.
func (r portRun) at(i int) (p machd.Port, ok bool) {
	p = r.first
	p.Host += uint16(i)
	p.Guest += uint16(i)
	return p, int(r.first.Host)+i <= lastPort && int(r.first.Guest)+i <= lastPort
}

const lastPort = 1<<16 - 1

// index returns which of the run's p is, or -1.
func (r portRun) index(p machd.Port) int {
	i := int(p.Host) - int(r.first.Host)
	if i < 0 || i >= r.n {
		return -1
	}
	if of, _ := r.at(i); of != p {
		return -1
	}
	return i
}

func (l portList) len() (n int) {
	for _, r := range l {
		n += r.n
	}
	return n
}

// all are the ports one by one.
func (l portList) all() iter.Seq[machd.Port] {
	return func(yield func(machd.Port) bool) {
		for _, r := range l {
			for i := range r.n {
				if p, _ := r.at(i); !yield(p) {
					return
				}
			}
		}
	}
}

func (l portList) ports() []machd.Port {
	return slices.AppendSeq(make([]machd.Port, 0, l.len()), l.all())
}

func (l portList) has(p machd.Port) bool {
	return slices.ContainsFunc(l, func(r portRun) bool { return r.index(p) >= 0 })
}

// hostOf returns the port of the host that goes with one of the machine's side.
func (l portList) hostOf(protocol machd.Protocol, guest uint16) (host uint16, ok bool) {
	for _, r := range l {
		if i := int(guest) - int(r.first.Guest); r.first.Protocol == protocol && i >= 0 && i < r.n {
			return r.first.Host + uint16(i), true
		}
	}
	return 0, false
}

// like returns the ports that have what p has, whose numbers may be 0 for any.
func (l portList) like(p machd.Port) (found []machd.Port) {
	for _, r := range l {
		i := int(p.Host) - int(r.first.Host)
		if p.Host == 0 {
			i = int(p.Guest) - int(r.first.Guest)
		}
		if i < 0 || i >= r.n {
			continue
		}
		of, _ := r.at(i)
		whole := p
		whole.Host, whole.Guest = cmp.Or(p.Host, of.Host), cmp.Or(p.Guest, of.Guest)
		if whole == of {
			found = append(found, of)
		}
	}
	return found
}

// with returns the list with more ports.
func (l portList) with(ports ...machd.Port) portList {
	l = slices.Clone(l)
	for _, p := range ports {
		if l.has(p) {
			continue
		}
		i := slices.IndexFunc(l, func(r portRun) bool {
			next, ok := r.at(r.n)
			return ok && next == p && r.n < machd.MaxPorts
		})
		if i < 0 {
			l = append(l, portRun{p, 1})
		} else {
			l[i].n++
		}
	}
	return l
}

// without returns the list without a port, and whether that was in it.
func (l portList) without(p machd.Port) (portList, bool) {
	for i, r := range l {
		at := r.index(p)
		if at < 0 {
			continue
		}
		var left []portRun
		if at > 0 {
			left = append(left, portRun{r.first, at})
		}
		if after, _ := r.at(at + 1); at < r.n-1 {
			left = append(left, portRun{after, r.n - 1 - at})
		}
		return slices.Concat(l[:i], left, l[i+1:]), true
	}
	return l, false
}

// texts are the ports as machd.ParsePorts reads them.
func (l portList) texts() []string {
	texts := make([]string, len(l))
	for i, r := range l {
		texts[i] = machd.RangeString(r.first, r.n)
	}
	return texts
}

// inwardTexts are the ports as machd.ParseInwardPorts reads them: the machine's
// side first.
func (l portList) inwardTexts() []string {
	turned := make(portList, len(l))
	for i, r := range l {
		turned[i] = portRun{machd.Port{Protocol: r.first.Protocol, Host: r.first.Guest, Guest: r.first.Host}, r.n}
	}
	return turned.texts()
}

// MarshalJSON writes texts that machd.ParsePorts reads.
func (l portList) MarshalJSON() ([]byte, error) { return json.Marshal(l.texts()) }

// UnmarshalJSON reads what MarshalJSON writes.
func (l *portList) UnmarshalJSON(data []byte) error {
	var texts []string
	if err := json.Unmarshal(data, &texts); err != nil {
		return err
	}
	*l = nil
	for _, text := range texts {
		ports, err := machd.ParsePorts(text)
		if err != nil {
			return err
		}
		*l = append(*l, portRun{ports[0], len(ports)})
	}
	return nil
}
