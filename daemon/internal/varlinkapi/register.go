package varlinkapi

import (
	"context"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/registrant"
	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machine1"
)

// register answers once the machine is known, and, if it gets a unit, once
// PID 1 has been told to start it; it does not wait for the unit.
//
// Reference: machine-varlink.c, vl_method_register.
func register(ctx context.Context, a *API, c *varlink.Call) (any, error) {
	leader, field, err := a.leader(c.In)
	if err != nil {
		return nil, err
	}
	caller, err := a.Identify(c.Conn)
	if err != nil {
		return nil, err
	}
	defer caller.Close()
	parties, err := registrant.Pin(caller, leader)
	if err != nil && field != "" {
		return nil, varlink.InvalidParameter(field)
	}
	if err != nil {
		return nil, err
	}
	defer parties.Close()

	class, create := machine1.Class(c.In.String("class")), c.In.Bool("allocateUnit")
	request := registrant.Question(c.In.String("name"), class, create)
	request.Interactive = c.In.Bool(interactiveField)
	if err := parties.Authorize(ctx, a.Access, request); err != nil {
		return nil, err
	}
	r := registration(c.In)
	parties.HandOver(&r)
	if create {
		_, err = a.Machines.Create(ctx, r, nil, false)
	} else {
		_, err = a.Machines.Register(ctx, r)
	}
	return nil, err
}

// leader returns which process the caller names, and in which field.
func (a *API) leader(in varlink.Object) (l registrant.Leader, field string, err error) {
	if in.Has("leader") {
		field = "leader"
		l.PID = in.Int("leader")
	}
	if !in.Has("leaderProcessId") {
		return l, field, nil
	}
	if a.isRemote(in.Object("leaderProcessId")) {
		return l, field, varlink.InvalidParameter("leaderProcessId")
	}
	pid := in.Object("leaderProcessId").Int("pid")
	if l.PID != 0 && l.PID != pid {
		return l, field, varlink.InvalidParameter("leader")
	}
	l.PID = pid
	l.ID = uint64(in.Object("leaderProcessId").Int("pidfdId"))
	return l, "leaderProcessId", nil
}

// registration is in without the processes.
func registration(in varlink.Object) machine.Registration {
	id, _ := parseID(in.String("id"))
	var interfaces []int32
	for _, index := range in.Array("ifIndices") {
		interfaces = append(interfaces, int32(index.(int64)))
	}
	cid := uint32(machine1.VSockCIDAny)
	if in.Has("vSockCid") {
		cid = uint32(in.Int("vSockCid"))
	}
	return machine.Registration{
		Name:              in.String("name"),
		ID:                id,
		Service:           in.String("service"),
		Class:             machine1.Class(in.String("class")),
		RootDirectory:     in.String("rootDirectory"),
		NetworkInterfaces: interfaces,
		VSockCID:          cid,
		SSHAddress:        in.String("sshAddress"),
		SSHPrivateKeyPath: in.String("sshPrivateKeyPath"),
		ControlAddress:    in.String("controlAddress"),
	}
}
