package client_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"testing"

	gosystemd "github.com/coreos/go-systemd/v22/machine1"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machine1"
)

// The same in go-systemd's words and in ours.
func Example_goSystemd() {
	defer exampleBus()()

	theirs, err := gosystemd.New()
	if err != nil {
		log.Fatal(err)
	}
	defer theirs.Close()
	machines, err := theirs.ListMachines()
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range machines {
		fmt.Println(m.Name, m.Class)
	}
	properties, err := theirs.DescribeMachine("c8-ns")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(properties["Unit"], properties["Leader"])
	if err := theirs.KillMachine("c8-ns", "leader", syscall.SIGHUP); err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	ours, err := client.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer ours.Close()
	list, err := ours.List(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range list {
		fmt.Println(m.Name, m.Class)
	}
	machine, err := ours.Machine(ctx, "c8-ns")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(machine.Unit, machine.Leader)
	if err := ours.Kill(ctx, "c8-ns", client.WhomLeader, syscall.SIGHUP); err != nil {
		log.Fatal(err)
	}
	// Output:
	// .host host
	// c8-ns container
	// systemd-nspawn@c8-ns.service 31698
	// .host host
	// c8-ns container
	// systemd-nspawn@c8-ns.service 31698
}

// Calls of both packages that no example makes, to be compiled.
var _ = map[string][2]any{
	"registration": {(*gosystemd.Conn).RegisterMachineWithNetwork, func(c *client.Client, ctx context.Context) error {
		return c.Register(ctx, client.Registration{Name: "m", Class: machine1.ClassContainer, NetworkInterfaces: []int32{1}})
	}},
	"scope": {(*gosystemd.Conn).CreateMachineWithNetwork, (*client.Client).RegisterInScope},
	"pid":   {(*gosystemd.Conn).GetMachineByPID, (*client.Client).MachineByPID},
	"image": {(*gosystemd.Conn).GetImage, (*client.Client).Image},
	"end":   {(*gosystemd.Conn).TerminateMachine, (*client.Client).Terminate},
}

var callRow = regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (?:`(\\w+)`|none) \\|(.*)\\|$")

// The table says what to call instead of each call of go-systemd's.
func TestTheTableOfCallsIsWhole(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/migrating.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "## From go-systemd")
	theirs, ours := methodsOf[*gosystemd.Conn](), methodsOf[*client.Client]()
	theirs["New"], ours["Connect"] = true, true
	ours["ConnectUser"], ours["Dial"] = true, true
	for _, row := range callRow.FindAllStringSubmatch(section, -1) {
		if !theirs[row[1]] {
			t.Errorf("go-systemd has no %s, or it is there twice", row[1])
		}
		delete(theirs, row[1])
		if row[2] != "" && !ours[row[2]] {
			t.Errorf("package client has no %s", row[2])
		}
		for _, also := range regexp.MustCompile("`([A-Z]\\w+)`").FindAllStringSubmatch(row[3], -1) {
			if !ours[also[1]] {
				t.Errorf("package client has no %s", also[1])
			}
		}
	}
	for name := range theirs {
		t.Errorf("nobody says what to call instead of %s", name)
	}
}

func methodsOf[T any]() map[string]bool {
	names := map[string]bool{}
	for m := range reflect.TypeFor[T]().Methods() {
		names[m.Name] = true
	}
	return names
}
