package main

import (
	"cmp"
	"context"
	"fmt"
	"strconv"

	"github.com/machd/machd/client"
)

// stockNumber is the systemd whose machinectl we are, where nobody tells which
// one runs.
const stockNumber = 262

// systemdNumber returns which systemd runs, of c's bus if that is not nil.
func systemdNumber(ctx context.Context, c *client.Client) int {
	if c == nil {
		return stockNumber
	}
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	version, _ := c.SystemdVersion(ctx)
	digits, _ := cutDigits(version)
	number, err := strconv.Atoi(digits)
	if err != nil {
		return stockNumber
	}
	return number
}

// stockVersionText has the number where programs look for it that want to know
// what this machinectl can do.
func stockVersionText(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	c, err := client.Connect(ctx, client.Plain())
	if err == nil {
		defer c.Close()
	}
	return fmt.Sprintf("systemd %d (machctl %s)\n", systemdNumber(ctx, c), cmp.Or(programVersion(), "unknown version"))
}
