package metrics

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/pkg/machine1"
)

// A writer writes the text format: families one after the other, each with its
// kind and its help before its samples.
//
// Reference: the OpenMetrics specification 1.0.
type writer struct{ bytes.Buffer }

// family begins one. unit is the last part of its name, or "".
func (w *writer) family(name, kind, unit, help string) {
	fmt.Fprintf(w, "# TYPE %s %s\n", name, kind)
	if unit != "" {
		fmt.Fprintf(w, "# UNIT %s %s\n", name, unit)
	}
	fmt.Fprintf(w, "# HELP %s %s\n", name, help)
}

// sample writes one value; labels are names and values in turn.
func (w *writer) sample(name, value string, labels ...string) {
	w.WriteString(name)
	for i := 0; i < len(labels); i += 2 {
		open := byte(',')
		if i == 0 {
			open = '{'
		}
		w.WriteByte(open)
		w.WriteString(labels[i] + `="` + escape.Replace(labels[i+1]) + `"`)
	}
	if len(labels) > 0 {
		w.WriteByte('}')
	}
	w.WriteString(" " + value + "\n")
}

var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// text is all that there is to tell.
func (f *Face) text(usage []machine.Usage) []byte {
	w := &writer{}
	w.family("machd_build", "info", "", "The program that tells this.")
	w.sample("machd_build_info", "1", "version", f.version)
	f.machineCounts(w)
	machineInfo(w, f.machines.View())
	for _, row := range numbers {
		row.write(w, usage)
	}
	w.WriteString("# EOF\n")
	return w.Bytes()
}

func (f *Face) machineCounts(w *writer) {
	byClass := map[machine1.Class]int{machine1.ClassContainer: 0, machine1.ClassVM: 0}
	for m := range f.machines.View().All() {
		if m.Class != machine1.ClassHost {
			byClass[m.Class]++
		}
	}
	w.family("machd_machines", "gauge", "", "Machines there are now.")
	for _, class := range slices.Sorted(maps.Keys(byClass)) {
		w.sample("machd_machines", strconv.Itoa(byClass[class]), "class", string(class))
	}
	counts := f.machines.Counts()
	w.family("machd_machines_registered", "counter", "", "Machines registered since machd was started.")
	w.sample("machd_machines_registered_total", strconv.FormatUint(counts.Registered, 10))
	w.family("machd_machines_ended", "counter", "", "Machines that have ended since machd was started, by how they did.")
	for _, result := range slices.Sorted(maps.Keys(counts.Ended)) {
		w.sample("machd_machines_ended_total", strconv.FormatUint(counts.Ended[result], 10), "result", result)
	}
}

func machineInfo(w *writer, view *machine.View) {
	w.family("machd_machine", "info", "", "Whose a machine is and where it runs.")
	for m := range view.All() {
		if m.Class != machine1.ClassHost {
			w.sample("machd_machine_info", "1", "machine", m.Name, "class", string(m.Class), "service", m.Service, "unit", m.Unit)
		}
	}
	w.family("machd_machine_start_time_seconds", "gauge", "seconds", "When a machine was registered, since the epoch.")
	for m := range view.All() {
		if m.Class != machine1.ClassHost {
			w.sample("machd_machine_start_time_seconds", microseconds(m.Realtime), "machine", m.Name)
		}
	}
}

// A number is a family with a sample for each machine of which it is known.
type number struct {
	name, kind, unit, help string
	get                    func(machine.Usage) *uint64
	format                 func(uint64) string
}

var numbers = []number{
	{"machd_machine_cpu_seconds", "counter", "seconds", "Processor time that a machine has taken.",
		func(u machine.Usage) *uint64 { return u.CPU }, microseconds},
	{"machd_machine_memory_bytes", "gauge", "bytes", "Memory that a machine takes.",
		func(u machine.Usage) *uint64 { return u.Memory }, decimal},
	{"machd_machine_tasks", "gauge", "", "Threads that a machine has.",
		func(u machine.Usage) *uint64 { return u.Tasks }, decimal},
	{"machd_machine_io_read_bytes", "counter", "bytes", "What a machine has read from block devices.",
		func(u machine.Usage) *uint64 { return u.IORead }, decimal},
	{"machd_machine_io_written_bytes", "counter", "bytes", "What a machine has written to block devices.",
		func(u machine.Usage) *uint64 { return u.IOWrite }, decimal},
}

func (n number) write(w *writer, usage []machine.Usage) {
	w.family(n.name, n.kind, n.unit, n.help)
	sample := n.name
	if n.kind == "counter" {
		sample += "_total"
	}
	for _, u := range usage {
		if value := n.get(u); value != nil {
			w.sample(sample, n.format(*value), "machine", u.Machine.Name)
		}
	}
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }

// microseconds writes them as seconds.
func microseconds(n uint64) string { return fmt.Sprintf("%d.%06d", n/1e6, n%1e6) }
