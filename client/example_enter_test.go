package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machd"
	"github.com/machd/machd/pkg/machine1"
)

// Run a command in a machine, with this process's output, and take its exit
// status.
func ExampleClient_Exec() {
	defer exampleBus()()
	ctx := context.Background()
	c, err := client.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	output, err := os.CreateTemp("", "output")
	if err != nil {
		log.Fatal(err)
	}
	defer os.Remove(output.Name())
	defer output.Close()

	x, err := c.Exec(ctx, "c8-ns", client.ExecCommand{
		Args:   []string{"sh", "-c", "echo $GREETING; exit 3"},
		Env:    []string{"GREETING=hello"},
		Stdout: output,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer x.Close()
	outcome, err := x.Wait(ctx)
	if err != nil {
		log.Fatal(err)
	}
	switch {
	case outcome.Exit != nil:
		fmt.Println("exit status", *outcome.Exit)
	case outcome.Failure == machd.FailureNotFound:
		fmt.Println("no such program:", outcome.Message)
	default:
		fmt.Println("killed by signal", outcome.Signal)
	}
	text, err := os.ReadFile(output.Name())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(string(text))
	// Output:
	// exit status 3
	// hello
}

// Copy a file into a machine, and tell the errors apart that are worth it.
func ExampleClient_CopyTo() {
	defer exampleBus()()
	ctx := context.Background()
	c, err := client.Connect(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	for _, name := range []string{"c8-ns", "nope"} {
		err := c.CopyTo(ctx, name, client.Copy{Source: "/etc/motd", Replace: true})
		switch {
		case err == nil:
			fmt.Println("copied to", name)
		case errors.Is(err, machine1.ErrNoSuchMachine):
			fmt.Println(name, "does not run")
		case errors.Is(err, machine1.ErrAccessDenied), errors.Is(err, machine1.ErrInteractionRequired):
			fmt.Println("only root may do that, or whom polkit lets")
		default:
			log.Fatal(err)
		}
	}
	// Output:
	// copied to c8-ns
	// nope does not run
}
