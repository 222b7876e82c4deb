package machd

import "github.com/godbus/dbus/v5"

// A Usage is what a machine takes of the host. What the kernel does not tell
// is nil: without a controller for it, memory is not counted at all.
type Usage struct {
	CPU     *uint64 // cpu_usec: processor time so far, µs
	Memory  *uint64 // memory: now, bytes
	Tasks   *uint64 // tasks: threads now
	IORead  *uint64 // io_read: from block devices so far, bytes
	IOWrite *uint64 // io_write: to them so far, bytes
}

func (u *Usage) table() map[string]**uint64 {
	return map[string]**uint64{
		"cpu_usec": &u.CPU, "memory": &u.Memory, "tasks": &u.Tasks, "io_read": &u.IORead, "io_write": &u.IOWrite,
	}
}

// Variants returns u as it goes over the bus.
func (u Usage) Variants() map[string]dbus.Variant {
	numbers := map[string]dbus.Variant{}
	for name, number := range u.table() {
		if *number != nil {
			numbers[name] = dbus.MakeVariant(**number)
		}
	}
	return numbers
}

// UsageOf reads what came over the bus. It passes over what it does not know:
// a newer daemon may tell more.
func UsageOf(numbers map[string]dbus.Variant) (u Usage) {
	for name, number := range u.table() {
		if n, ok := numbers[name].Value().(uint64); ok {
			*number = &n
		}
	}
	return u
}
