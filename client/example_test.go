package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"testing"
	"time"

	"github.com/machd/machd/client"
	"github.com/machd/machd/client/internal/machine1test"
	"github.com/machd/machd/pkg/machine1"
)

// exampleBus puts a machine and an image on a bus of their own and makes that
// the system bus of the example.
func exampleBus() (end func()) {
	t := &exampleTB{}
	w := machine1test.New(t)
	w.Add(machine1test.C8NS())
	w.AddImage(machine1test.Image{ListedImage: machine1.ListedImage{Name: "web", Type: "directory"}})
	os.Setenv("DBUS_SYSTEM_BUS_ADDRESS", w.Address)
	return func() {
		os.Unsetenv("DBUS_SYSTEM_BUS_ADDRESS")
		for _, cleanup := range t.cleanups {
			defer cleanup()
		}
	}
}

// An exampleTB is as much of a test as an example has.
type exampleTB struct {
	testing.TB
	cleanups []func()
}

func (t *exampleTB) Helper()             {}
func (t *exampleTB) Cleanup(f func())    { t.cleanups = append(t.cleanups, f) }
func (t *exampleTB) Fatal(args ...any)   { log.Fatal(args...) }
func (t *exampleTB) Logf(string, ...any) {}

func Example() {
	defer exampleBus()()
	ctx := context.Background()

	c, err := client.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	machines, err := c.List(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range machines {
		fmt.Println(m.Name, m.Class)
	}
	// Output:
	// .host host
	// c8-ns container
}

func ExampleClient_Machine() {
	defer exampleBus()()
	ctx := context.Background()
	c, err := client.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	m, err := c.Machine(ctx, "c8-ns")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(m.State, m.Unit, m.Leader)

	_, err = c.Machine(ctx, "nope")
	fmt.Println(errors.Is(err, machine1.ErrNoSuchMachine), err)
	// Output:
	// running systemd-nspawn@c8-ns.service 31698
	// true cannot find "nope": No machine 'nope' known
}

func ExampleClient_Machines() {
	defer exampleBus()()
	ctx := context.Background()
	c, err := client.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	machines, err := c.Machines(ctx, client.OverviewQuery{Patience: 3 * time.Second})
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range machines {
		fmt.Println(m.Name, m.OSRelease["ID"], m.Addresses[0])
	}
	// Output:
	// .host centos 192.168.122.231
	// c8-ns centos 192.168.88.27
}

// Start a container, and shut it down so that it can be started again at once.
func ExampleClient_WatchGone() {
	defer exampleBus()()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := client.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	if err := c.Start(ctx, "web"); err != nil {
		log.Fatal(err)
	}
	gone, err := c.WatchGone(ctx, "web")
	if err != nil {
		log.Fatal(err)
	}
	defer gone.Close()
	if err := c.PowerOff(ctx, "web"); err != nil {
		log.Fatal(err)
	}
	if err := gone.Wait(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("web can be started again")
	// Output: web can be started again
}

func ExampleClient_Watch() {
	defer exampleBus()()
	ctx := context.Background()
	c, err := client.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	for event, err := range c.Watch(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.Kind, event.Name)
		if event.Name == "c8-ns" && event.Kind == client.Present {
			go c.Terminate(ctx, "c8-ns")
		}
		if event.Kind == client.Removed {
			break
		}
	}
	// Output:
	// present .host
	// present c8-ns
	// removed c8-ns
}

func ExampleClient_OpenShell() {
	defer exampleBus()()
	ctx := context.Background()
	c, err := client.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	session, err := c.OpenShell(ctx, "c8-ns", client.ShellCommand{Path: "/bin/echo", Args: []string{"echo", "hello"}})
	if err != nil {
		log.Fatal(err)
	}
	defer session.Close()
	output := make([]byte, 5)
	if _, err := session.Terminal.Read(output); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", output)
	// Output: hello
}
