// Command bench measures machd and machctl beside systemd-machined and
// machinectl on one booted host, and prints the ratios. It registers machines
// with systemd-machined, hands them over to machd by the swap that users make,
// and lists them with either client from either daemon. Then it starts either
// daemon with and without machines, and makes single calls through the same
// broker with next to no client at all.
//
// It must run as root on a test host with systemd-machined in place:
//
//	make bench
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	runs := flags.Int("runs", 7, "runs of each command, of which the median counts")
	counts := flags.String("machines", "1,20,1000", "numbers of machines, ascending")
	rounds := flags.Int("rounds", 5, "measurements of each single call with each daemon, of which the median counts; 0: none")
	callMachines := flags.Int("call-machines", 1000, "number of machines for single calls")
	commands := flags.Int("commands", 50, "runs of a command in a machine by each way; 0: none")
	launches := flags.Int("launches", 5, "starts and stops of a machine with each daemon, of which the median counts; 0: none")
	copies := flags.Int("copies", 5, "copies, clones and removals by each way, of which the median counts; 0: none")
	networks := flags.Int("networks", 5, "measurements of each way to a machine with a network, and to containers of podman and Incus where these are installed, of which the median counts; 0: none")
	if err := flags.Parse(args); err != nil {
		return err
	}
	for _, part := range []struct {
		times   int
		measure func(int) error
	}{{*commands, measureCommands}, {*launches, measureLaunches}, {*copies, measureCopies}, {*networks, measureNetwork}} {
		if part.times > 0 {
			if err := part.measure(part.times); err != nil {
				return err
			}
		}
	}
	park := &park{}
	defer park.clear()
	if *rounds > 0 {
		if err := measureStarts(0, *rounds); err != nil {
			return err
		}
	}
	if *counts != "" {
		printHead(*runs)
	}
	for word := range strings.SplitSeq(*counts, ",") {
		if word == "" {
			continue // single calls only
		}
		n, err := strconv.Atoi(word)
		if err != nil {
			return fmt.Errorf("cannot use %q as a number of machines", word)
		}
		if err := measureQuestions(ctx, park, n, *runs); err != nil {
			return err
		}
	}
	if *rounds == 0 {
		return nil
	}
	if err := swapTo(stock); err != nil {
		return err
	}
	if err := park.grow(ctx, *callMachines); err != nil {
		return err
	}
	if err := measureStarts(*callMachines, *rounds); err != nil {
		return err
	}
	return measureCalls(*callMachines, *rounds)
}

func printHead(runs int) {
	fmt.Printf("\nquestions about N machines, median of %d, from start to end; to what the stock programs take\n\n", passes*runs)
	fmt.Printf("%8s  %-8s  %-30s  %10s  %8s\n", "machines", "", "", "ms", "ratio")
}
