package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A question is a command that is measured, and what its answer must have how
// often.
type question struct {
	name  string
	words []string
	has   string
	times func(machines int) int
}

func once(int) int   { return 1 }
func each(n int) int { return n }

var questions = []question{
	{"list", []string{"list", "--no-legend", "--no-pager"}, "\n", each},
	{"show", []string{"show", "--no-pager", machineName(1)}, "Name=" + machineName(1), once},
	{"status", []string{"status", "--no-pager", machineName(1)}, machineName(1) + "\n", once},
}

// A pair is who asks and who is asked.
type pair struct {
	name    string
	program string
	daemon  string
}

// passes is how often the daemons take turns for one number of machines, so that
// a host which is busy for a while is so for all.
const passes = 2

// measureQuestions prints how long commands take from their start to their end
// with n machines, by everybody who can be asked, and how much that is of what the
// stock ones take.
func measureQuestions(ctx context.Context, park *park, n, runs int) error {
	alias, end, err := aliasOf("machctl")
	if err != nil {
		return err
	}
	defer end()
	pairs := []pair{
		{"machinectl, systemd-machined", "machinectl", stock},
		{"machctl, systemd-machined", "machctl", stock},
		{"machctl, machd", "machctl", ours},
		{"machctl as machinectl, machd", alias, ours},
		{"machinectl, machd", "machinectl", ours},
	}
	if err := swapTo(stock); err != nil {
		return err
	}
	if err := park.grow(ctx, n); err != nil {
		return err
	}
	taken := map[string][]time.Duration{}
	memory := map[string]int{}
	for range passes {
		for _, daemon := range daemons {
			if err := swapTo(daemon); err != nil {
				return err
			}
			if err := askAll(ctx, daemon, pairs, n, runs, taken); err != nil {
				return err
			}
			if memory[daemon], err = residentKiB(); err != nil {
				return err
			}
		}
	}
	ms := func(t time.Duration) float64 { return t.Seconds() * 1000 }
	for _, q := range questions {
		reference := median(taken[q.name+pairs[0].name], ms)
		for _, p := range pairs {
			took := median(taken[q.name+p.name], ms)
			fmt.Printf("%8d  %-8s  %-30s  %10.1f  %8.3f\n", n, q.name, p.name, took, took/reference)
		}
	}
	fmt.Printf("%8d  memory of systemd-machined %d KiB, of machd %d KiB\n", n, memory[stock], memory[ours])
	return nil
}

// askAll has those who ask daemon take turns.
func askAll(ctx context.Context, daemon string, pairs []pair, n, runs int, taken map[string][]time.Duration) error {
	for run := range runs + 1 { // the first one warms up
		for _, q := range questions {
			for _, p := range pairs {
				if p.daemon != daemon {
					continue
				}
				took, err := q.ask(ctx, p.program, n)
				if err != nil {
					return err
				}
				if run > 0 {
					taken[q.name+p.name] = append(taken[q.name+p.name], took)
				}
			}
		}
	}
	return nil
}

// ask returns how long it took, and fails if the answer is not right.
func (q question) ask(ctx context.Context, program string, machines int) (time.Duration, error) {
	begun := time.Now()
	out, err := exec.CommandContext(ctx, program, q.words...).Output()
	took := time.Since(begun)
	if err != nil {
		return 0, fmt.Errorf("cannot ask %s %s: %w", program, q.name, err)
	}
	if got, want := strings.Count(string(out), q.has), q.times(machines); got < want {
		return 0, fmt.Errorf("%s %s has %q %d times, want %d", program, q.name, q.has, got, want)
	}
	return took, nil
}

// aliasOf returns program under the name of machinectl.
func aliasOf(program string) (alias string, end func(), err error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return "", nil, err
	}
	alias = filepath.Join(dir, "machinectl")
	return alias, func() { os.RemoveAll(dir) }, os.Symlink(path, alias)
}
