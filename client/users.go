package client

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"
)

// HostUID returns which UID of the host a machine's user is. ErrNoSuchUserMapping
// says that there is none: the machine has no such user, or no user namespace.
//
// Reference: org.freedesktop.machine1(5), MapFromMachineUser.
func (c *Client) HostUID(ctx context.Context, machine string, uid uint32) (uint32, error) {
	return c.hostID(ctx, "MapFromMachineUser", "user", machine, uid)
}

// HostGID returns which GID of the host a machine's group is. That there is none
// is an ErrNoSuchUserMapping, as for users: the reference has it so.
//
// Reference: org.freedesktop.machine1(5), MapFromMachineGroup.
func (c *Client) HostGID(ctx context.Context, machine string, gid uint32) (uint32, error) {
	return c.hostID(ctx, "MapFromMachineGroup", "group", machine, gid)
}

// MachineUID returns which machine a UID of the host belongs to, and which user
// of it that is. ErrNoSuchUserMapping says that it is no machine's.
//
// Reference: org.freedesktop.machine1(5), MapToMachineUser.
func (c *Client) MachineUID(ctx context.Context, uid uint32) (machine string, inside uint32, err error) {
	return c.machineID(ctx, "MapToMachineUser", "user", uid)
}

// MachineGID is MachineUID for groups. ErrNoSuchGroupMapping says that the GID
// is no machine's.
//
// Reference: org.freedesktop.machine1(5), MapToMachineGroup.
func (c *Client) MachineGID(ctx context.Context, gid uint32) (machine string, inside uint32, err error) {
	return c.machineID(ctx, "MapToMachineGroup", "group", gid)
}

func (c *Client) hostID(ctx context.Context, member, what, machine string, id uint32) (host uint32, err error) {
	if err := c.ask(ctx, member, []any{machine, id}, &host); err != nil {
		return 0, fmt.Errorf("cannot map %s %d of %q: %w", what, id, machine, err)
	}
	return host, nil
}

func (c *Client) machineID(ctx context.Context, member, what string, id uint32) (machine string, inside uint32, err error) {
	var path dbus.ObjectPath
	if err := c.ask(ctx, member, []any{id}, &machine, &path, &inside); err != nil {
		return "", 0, fmt.Errorf("cannot map %s %d: %w", what, id, err)
	}
	return machine, inside, nil
}
