package client_test

import (
	"context"

	"github.com/machd/machd/client"
	"github.com/machd/machd/pkg/machine1"
)

// Calls of the client in the one form that the list of them has.

func asking[T any](ask func(*client.Client, context.Context) (T, error)) doer {
	return func(ctx context.Context, c *client.Client) error {
		_, err := ask(c, ctx)
		return err
	}
}

func about(tell func(*client.Client, context.Context, string) error) doer {
	return func(ctx context.Context, c *client.Client) error { return tell(c, ctx, "m") }
}

func askingAbout[T any](ask func(*client.Client, context.Context, string) (T, error)) doer {
	return func(ctx context.Context, c *client.Client) error {
		_, err := ask(c, ctx, "m")
		return err
	}
}

func machineByName(c *client.Client, ctx context.Context) (client.Machine, error) {
	return c.Machine(ctx, "m")
}

func imageByName(c *client.Client, ctx context.Context) (client.Image, error) {
	return c.Image(ctx, "i")
}

func machineOfSelf(c *client.Client, ctx context.Context) (string, error) {
	return c.MachineByPID(ctx, 0)
}

func sshInfo(c *client.Client, ctx context.Context, name string) error {
	_, _, err := c.SSHInfo(ctx, name)
	return err
}

func registering(r client.Registration) doer {
	return func(ctx context.Context, c *client.Client) error { return c.Register(ctx, r) }
}

func inScope(r client.Registration) doer {
	return func(ctx context.Context, c *client.Client) error {
		return c.RegisterInScope(ctx, r, []machine1.Property{})
	}
}

func opening(open func(*client.Client, context.Context, string) (*client.Session, error)) doer {
	return func(ctx context.Context, c *client.Client) error { return closing(open(c, ctx, "m")) }
}

func openShell(c *client.Client, ctx context.Context, name string) (*client.Session, error) {
	return c.OpenShell(ctx, name, client.ShellCommand{User: "u", Env: []string{"A=B"}})
}

func openRoot(c *client.Client, ctx context.Context, name string) error {
	return closing(c.OpenRoot(ctx, name))
}

func closing(what interface{ Close() error }, err error) error {
	if err != nil {
		return err
	}
	return what.Close()
}

func binding(ctx context.Context, c *client.Client) error {
	return c.Bind(ctx, "m", client.Bind{Source: "/from", Destination: "/to"})
}

func copying(do func(*client.Client, context.Context, string, client.Copy) error, replace bool) doer {
	return func(ctx context.Context, c *client.Client) error {
		return do(c, ctx, "m", client.Copy{Source: "/from", Destination: "/to", Replace: replace})
	}
}

func mappingFrom(do func(*client.Client, context.Context, string, uint32) (uint32, error)) doer {
	return func(ctx context.Context, c *client.Client) error {
		_, err := do(c, ctx, "m", 1)
		return err
	}
}

func mappingTo(do func(*client.Client, context.Context, uint32) (string, uint32, error)) doer {
	return func(ctx context.Context, c *client.Client) error {
		_, _, err := do(c, ctx, 1)
		return err
	}
}
