package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// Have machd start a machine with limits, and stop it again.
func ExampleClient_Launch() {
	defer exampleBus()()
	ctx := context.Background()
	c, err := client.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	started, err := c.Launch(ctx, "web", machd.StartOptions{
		Limits: machd.Limits{Memory: "512M", CPUs: "0.5"},
	})
	if errors.Is(err, machine1.ErrNotSupported) {
		err = c.Start(ctx, "web") // systemd-machined starts nothing itself
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("web is", started.State)

	how, err := c.Stop(ctx, "web", machd.StopOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ended by", how)
	// Output:
	// web is ready
	// ended by poweroff
}

// Have port 8080 of the host lead to port 80 of a machine.
func ExampleClient_AddPorts() {
	defer exampleBus()()
	ctx := context.Background()
	c, err := client.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	if err := c.AddPorts(ctx, "c8-ns", []string{"8080:80"}, machd.PortOptions{}); err != nil {
		log.Fatal(err)
	}
	ports, err := c.Ports(ctx, "c8-ns")
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range ports {
		fmt.Printf("%s %d -> %s:%d\n", p.Protocol, p.Host, p.Machine, p.Guest)
	}
	// Output: tcp 8080 -> c8-ns:80
}

func ExampleClient_Images() {
	defer exampleBus()()
	ctx := context.Background()
	c, err := client.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	images, err := c.Images(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, i := range images {
		size := "unknown"
		if i.Usage != client.Unknown {
			size = fmt.Sprint(i.Usage)
		}
		fmt.Println(i.Name, i.Type, size)
	}
	if err := c.CloneImage(ctx, "web", "web2", false); err != nil {
		log.Fatal(err)
	}
	// Output: web directory 0
}

// A program that runs a machine itself announces it, and need not do more: the
// machine is forgotten when its leader ends.
func ExampleClient_Register() {
	defer exampleBus()()
	ctx := context.Background()
	c, err := client.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	leader := uint32(4711)
	err = c.Register(ctx, client.Registration{
		Name: "mine", Service: "my-launcher", Class: machine1.ClassContainer, Leader: leader,
	})
	if errors.Is(err, machine1.ErrMachineExists) {
		log.Fatal("the name is taken")
	}
	if err != nil {
		log.Fatal(err)
	}
	m, err := c.Machine(ctx, "mine")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(m.Service, m.Leader)
	// Output: my-launcher 4711
}
