package main

import (
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
type cost struct {
	wall, cpu time.Duration
	sleeps    float64 // of the daemon's threads
}

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
	listImages, err4 := encode(manager, machine1.ManagerInterface, "ListImages")
	for _, err := range []error{err1, err2, err3, err4} {
		if err != nil {
			return nil, fmt.Errorf("cannot make a call: %w", err)
		}
	}
	var trials []trial
	for _, s := range []subject{{"GetMachine", get, 6000}, {"ListMachines", list, 300}, {"GetAll", all, 6000}} {
		trials = append(trials, trial{s, 1}, trial{s, inFlight})
	}
	return append(trials, trial{subject{"ListImages", listImages, 20}, 1}), nil
}

// measureCalls prints what each call costs with either daemon, which take turns
// so that neither has the quieter half of the time. Who takes part runs ahead of
// everything else on the host.
func measureCalls(machines, rounds int) error {
	remove, err := makeImages(images)
	if err != nil {
		return err
	}
	defer remove()
	trials, err := trials()
	if err != nil {
		return err
	}
	brokers, err := brokerPIDs()
	if err != nil {
		return err
	}
	if err := setRealtime(brokers...); err != nil {
		return err
	}
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

// measureAll makes all calls from a thread that ends when it returns.
func measureAll(trials []trial, daemon string, costs map[string][][]cost) error {
	pid, err := daemonPID()
	if err != nil {
		return err
	}
	if err := setRealtime(pid); err != nil {
		return err
	}
	ended := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := runFirst(unix.Gettid())
		if err == nil {
			err = measureHere(trials, daemon, pid, costs)
		}
		ended <- err
	}()
	return <-ended
}

func measureHere(trials []trial, daemon string, pid int, costs map[string][][]cost) error {
	b, err := dialRaw()
	if err != nil {
		return err
	}
	defer b.file.Close()
	if costs[daemon] == nil {
		costs[daemon] = make([][]cost, len(trials))
	}
	for i, t := range trials {
		if err := b.run(t.subject.call, t.subject.times/10, t.window); err != nil { // warms up
			return err
		}
		before, slept, start := processorTime(pid), sleeps(pid), time.Now()
		if err := b.run(t.subject.call, t.subject.times, t.window); err != nil {
			return err
		}
		n := time.Duration(t.subject.times)
		c := cost{time.Since(start) / n, (processorTime(pid) - before) / n, 0}
		c.sleeps = float64(sleeps(pid)-slept) / float64(t.subject.times)
		costs[daemon][i] = append(costs[daemon][i], c)
	}
	return nil
}

func printCalls(trials []trial, costs map[string][][]cost, machines, rounds int) {
	fmt.Printf("\none call with %d machines and %d images, µs, median of %d; pipelined: %d in flight\n", machines, images, rounds, inFlight)
	fmt.Printf("sleeps: how often a thread of the daemon waits\n\n")
	fmt.Printf("%-22s", "")
	for _, what := range []string{"", "CPU ", "sleeps "} {
		fmt.Printf("  %14s  %12s  %6s", what+"machined", what+"machd", "ratio")
	}
	fmt.Println()
	for i, t := range trials {
		way := "serial"
		if t.window > 1 {
			way = "pipelined"
		}
		fmt.Printf("%-22s", t.subject.name+" "+way)
		printRatio(micros(costs[stock][i], wall), micros(costs[ours][i], wall))
		printRatio(micros(costs[stock][i], cpu), micros(costs[ours][i], cpu))
		printRatio(median(costs[stock][i], slept), median(costs[ours][i], slept))
		fmt.Println()
	}
}

func printRatio(stock, ours float64) {
	fmt.Printf("  %14.1f  %12.1f  %6.2f", stock, ours, ours/stock)
}

func wall(c cost) float64  { return float64(c.wall) }
func cpu(c cost) float64   { return float64(c.cpu) }
func slept(c cost) float64 { return c.sleeps }

// median returns the median of one part of the measurements.
func median[T any](all []T, part func(T) float64) float64 {
	var values []float64
	for _, one := range all {
		values = append(values, part(one))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// micros is median for a duration, in µs.
func micros(costs []cost, part func(cost) float64) float64 { return median(costs, part) / 1000 }
