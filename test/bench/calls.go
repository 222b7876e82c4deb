package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/pkg/bus"
	"github.com/machd/machd/pkg/machine1"
)

// A subject is one call that programs make often, and how often to make it for
// one measurement.
type subject struct {
	name  string
	call  []byte
	times int
}

// inFlight is how many calls a pipelining client has on the way.
const inFlight = 64

// A cost is what one call takes: of time as the client sees it, and of the
// daemon's processor time.
type cost struct{ wall, cpu time.Duration }

// A trial is one way to make a subject's calls.
type trial struct {
	subject subject
	window  int
}

func trials() ([]trial, error) {
	manager := bus.Target{Name: machine1.BusName, Path: machine1.ObjectPath}
	machine := bus.Target{Name: machine1.BusName, Path: machine1.MachinePath(machineName(1))}
	const properties = "org.freedesktop.DBus.Properties"
	get, err1 := encode(manager, machine1.ManagerInterface, "GetMachine", machineName(1))
	list, err2 := encode(manager, machine1.ManagerInterface, "ListMachines")
	all, err3 := encode(machine, properties, "GetAll", machine1.MachineInterface)
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			return nil, fmt.Errorf("cannot make a call: %w", err)
		}
	}
	var trials []trial
	for _, s := range []subject{{"GetMachine", get, 6000}, {"ListMachines", list, 300}, {"GetAll", all, 6000}} {
		trials = append(trials, trial{s, 1}, trial{s, inFlight})
	}
	return trials, nil
}

// measureCalls prints what each call costs with either daemon, which take turns
// so that neither has the quieter half of the time.
func measureCalls(ctx context.Context, park *park, machines, rounds int) error {
	if err := swapTo("systemd-machined"); err != nil {
		return err
	}
	if err := park.grow(ctx, machines); err != nil {
		return err
	}
	trials, err := trials()
	if err != nil {
		return err
	}
	daemons := []string{"systemd-machined", "machd"}
	costs := map[string][][]cost{} // by daemon, trial
	for range rounds {
		for _, daemon := range daemons {
			if err := swapTo(daemon); err != nil {
				return err
			}
			if err := measureAll(trials, daemon, costs); err != nil {
				return fmt.Errorf("%s: %w", daemon, err)
			}
		}
	}
	printCalls(trials, costs, machines, rounds)
	return nil
}

func measureAll(trials []trial, daemon string, costs map[string][][]cost) error {
	pid, err := daemonPID()
	if err != nil {
		return err
	}
	b, err := dialRaw()
	if err != nil {
		return err
	}
	defer b.file.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if costs[daemon] == nil {
		costs[daemon] = make([][]cost, len(trials))
	}
	for i, t := range trials {
		if err := b.run(t.subject.call, t.subject.times/10, t.window); err != nil { // warms up
			return err
		}
		before, start := processorTime(pid), time.Now()
		if err := b.run(t.subject.call, t.subject.times, t.window); err != nil {
			return err
		}
		n := time.Duration(t.subject.times)
		c := cost{time.Since(start) / n, (processorTime(pid) - before) / n}
		costs[daemon][i] = append(costs[daemon][i], c)
	}
	return nil
}

// processorTime returns what a process has used so far, of user and system
// time, to the nanosecond.
func processorTime(pid int) time.Duration {
	// The kernel's number for a process's own clock: CPUCLOCK_SCHED.
	clock := int32(^pid)<<3 | 2
	var used unix.Timespec
	if err := unix.ClockGettime(clock, &used); err != nil {
		return 0
	}
	return time.Duration(used.Nano())
}

func printCalls(trials []trial, costs map[string][][]cost, machines, rounds int) {
	fmt.Printf("\none call with %d machines, µs, median of %d; pipelined: %d in flight\n\n", machines, rounds, inFlight)
	fmt.Printf("%-24s  %10s  %10s  %6s  %14s  %14s  %6s\n", "", "machined", "machd", "ratio", "CPU machined", "CPU machd", "ratio")
	for i, t := range trials {
		way := "serial"
		if t.window > 1 {
			way = "pipelined"
		}
		stock, ours := median(costs["systemd-machined"][i]), median(costs["machd"][i])
		fmt.Printf("%-24s  %10.1f  %10.1f  %6.2f  %14.1f  %14.1f  %6.2f\n", t.subject.name+" "+way,
			micros(stock.wall), micros(ours.wall), float64(ours.wall)/float64(stock.wall),
			micros(stock.cpu), micros(ours.cpu), float64(ours.cpu)/float64(stock.cpu))
	}
}

// median returns the median of both costs, each by itself.
func median(costs []cost) cost {
	var walls, cpus []time.Duration
	for _, c := range costs {
		walls, cpus = append(walls, c.wall), append(cpus, c.cpu)
	}
	slices.Sort(walls)
	slices.Sort(cpus)
	return cost{walls[len(walls)/2], cpus[len(cpus)/2]}
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
