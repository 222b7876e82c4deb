package launch

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/machd/machd/daemon/internal/throwaway"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// A Throwaway is where a machine has its root that is thrown away.
type Throwaway struct {
	throwaway.Place
	Image string // path of the directory tree that it is made of
}

// throwsAway reports whether what the machine writes is thrown away.
func throwsAway(o machd.StartOptions) bool { return o.Ephemeral || o.Overlay }

// throwAway has the unit make a root of the image first, and remove it when the
// machine is over. A disk image is systemd-nspawn's to mount, and what is written
// to it stays in memory.
func (plan *Plan) throwAway(p properties, root root, h *holder, pool, program string) error {
	runs, _ := p["ExecStartEx"].Value().([]command)
	if len(runs) != 1 || !runsNspawn(runs[0]) {
		return machine1.Errorf(machine1.ErrNotSupported,
			"Cannot throw away what '%s' writes: its unit does not run systemd-nspawn itself", plan.Name)
	}
	run := runs[0]
	line, err := readCommandLine(run.Argv)
	if err != nil {
		return err
	}
	// The host's journal would get a link to what is gone.
	line.remove(func(a argument) bool { return a.group == groupEphemeral || a.name == "link-journal" })
	line.options = append(line.options, option("link-journal", "no"))
	place := throwaway.Place{Pool: pool, Machine: plan.Name}
	if h != nil {
		h.dress(plan, p, &line, program)
		plan.cleanUp(p, place.RemoveCommand(program), h)
	}
	switch {
	case root.option == "mstack":
		return machine1.Errorf(machine1.ErrNotSupported, "Cannot throw away what is written to '%s', which has layers of its own", root.path)
	case !isTree(root.path):
		line.options = append(line.options, option("volatile", "overlay"), flag("read-only"))
		run.Argv = line.argv()
	default:
		plan.Throwaway = &Throwaway{place, root.path}
		users := usersOf(line, findSettings(plan.Name, root))
		line.remove(func(a argument) bool { return a.group == groupImage })
		line.options = append(line.options, option("directory", plan.Throwaway.Root()))
		line.program = run.Path
		run.Path, run.Argv = program, plan.Throwaway.MakeCommand(program, root.path, users, line.argv())
		plan.cleanUp(p, place.RemoveCommand(program), h)
	}
	p.set("ExecStartEx", []command{run})
	return nil
}

// cleanUp has the unit remove the root, whatever else its files have it do. What
// systemd-nspawn or we would have it do for machines that stay is done by that,
// too: --cleanup fails where there is no image of the machine's name.
func (plan *Plan) cleanUp(p properties, remove []string, h *holder) {
	commands := []command{{remove[0], remove, []string{"ignore-failure", "no-env-expand"}}}
	after, _ := p["ExecStopPostEx"].Value().([]command)
	ours := removeExport(plan.Name)
	for _, c := range after {
		// A caller's files are not for them to write to.
		if h == nil && !slices.Contains(c.Argv, "--cleanup") && !slices.Equal(c.Argv, ours.Argv) {
			commands = append(commands, c)
		}
	}
	p.set("ExecStopPostEx", commands)
}

func isTree(path string) bool {
	stat, err := os.Stat(path)
	return err == nil && stat.IsDir()
}

// usersOf returns the ids that a machine will have.
func usersOf(line commandLine, settings *settingsFile) throwaway.Users {
	value, given := "no", false
	for _, a := range line.options {
		switch {
		case slices.Contains(a.words, "-U"), a.name == "private-users-pick":
			value, given = "pick", true
		case a.name == "private-users":
			value, given = a.value, true
		}
	}
	mode, _ := line.has("settings")
	reads := mode.value != "no" && mode.value != "false" && mode.value != "0"
	if reads && (mode.value == "override" || !given) && settings.says(groupUsers) {
		value, _ = settings.file.Value("Exec", "PrivateUsers")
	}
	if value == "pick" {
		return throwaway.Users{Pick: true}
	}
	base, _, _ := strings.Cut(value, ":")
	n, err := strconv.ParseUint(base, 10, 32)
	if err != nil { // yes, no, identity, managed: the root keeps its owners
		return throwaway.Users{}
	}
	return throwaway.Users{Base: uint32(n)}
}
