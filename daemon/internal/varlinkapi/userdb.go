package varlinkapi

import (
	"context"
	"errors"
	"fmt"

	"github.com/machd/machd/daemon/internal/machine"
	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machine1"
)

const (
	userErrors = "io.systemd.UserDatabase."

	// providerName is what callers must ask for, since several providers may
	// share a socket. It is the name of the socket.
	providerName = "io.systemd.Machine"
)

var (
	errNoRecord       = &varlink.Error{Name: userErrors + "NoRecordFound"}
	errBadService     = &varlink.Error{Name: userErrors + "BadService"}
	errConflict       = &varlink.Error{Name: userErrors + "ConflictingRecordFound"}
	errNoEnumeration  = &varlink.Error{Name: userErrors + "EnumerationNotSupported"}
	recordOrPartOfOne = varlink.Fields{
		{Name: "record", Type: varlink.AnyObject},
		{Name: "incomplete", Doc: "Never given: nothing is kept from anybody", Type: varlink.Bool, Nullable: true},
	}
	service = varlink.Field{Name: "service", Doc: "Must be " + providerName, Type: varlink.String}
)

// refused is a field that callers are told of and must not give: every record
// is found by name or ID, and nothing else can be asked.
func refused(name string, t *varlink.Type) varlink.Field {
	return varlink.Field{Name: name, Type: t, Nullable: true, Refused: true}
}

// userInterface tells the host about users and groups of machines.
//
// Reference: varlink-io.systemd.UserDatabase.c, machined-varlink.c.
var userInterface = varlink.Interface[*API]{
	Name: "io.systemd.UserDatabase",
	Doc:  "The users and groups that machines have on this host",
	Methods: []varlink.Method[*API]{
		recordMethod("GetUserRecord", "Describes the user with an ID, or called vu-MACHINE-ID", userAccounts),
		recordMethod("GetGroupRecord", "Describes the group with an ID, or called vg-MACHINE-ID", groupAccounts),
		{
			Name: "GetMemberships",
			Doc:  "Finds nothing: what groups a machine's users are in is the machine's affair",
			In: varlink.Fields{
				{Name: "userName", Type: varlink.String, Nullable: true, Valid: isUserName},
				{Name: "groupName", Type: varlink.String, Nullable: true, Valid: isUserName},
				service,
			},
			Out: varlink.Fields{
				{Name: "userName", Type: varlink.String},
				{Name: "groupName", Type: varlink.String},
			},
			More: varlink.Streams,
			Func: getMemberships,
		},
	},
	Errors: []varlink.ErrorType{
		{Name: "NoRecordFound", Doc: "There is no such user or group"},
		{Name: "BadService", Doc: "Another provider was asked for"},
		{Name: "ServiceNotAvailable", Doc: "Nothing can be found at the moment"},
		{Name: "ConflictingRecordFound", Doc: "Name and ID are not of one user or group"},
		{Name: "NonMatchingRecordFound", Doc: "There is one, but not as the caller wants it"},
		{Name: "EnumerationNotSupported", Doc: "A name or an ID must be given"},
	},
}

// recordMethod finds one of these accounts, by ID or by name.
func recordMethod(method, doc string, of accounts) varlink.Method[*API] {
	return varlink.Method[*API]{
		Name: method,
		Doc:  doc,
		In: varlink.Fields{
			{Name: of.idField, Type: varlink.ExactInt, Nullable: true, Valid: isUserID},
			{Name: of.byName, Type: varlink.String, Nullable: true, Valid: isUserName},
			refused("fuzzyNames", varlink.Array(varlink.String)),
			refused("dispositionMask", varlink.Array(varlink.String)),
			refused(of.idField+"Min", varlink.Int),
			refused(of.idField+"Max", varlink.Int),
			refused("uuid", varlink.String),
			service,
		},
		Out:  recordOrPartOfOne,
		More: varlink.Streams,
		Func: func(ctx context.Context, a *API, c *varlink.Call) (any, error) { return a.account(ctx, c, of) },
	}
}

type userRecord struct {
	Name        string `json:"userName"`
	UID         uint32 `json:"uid"`
	GID         uint32 `json:"gid"`
	RealName    string `json:"realName"`
	Home        string `json:"homeDirectory"`
	Shell       string `json:"shell"`
	Locked      bool   `json:"locked"`
	Service     string `json:"service"`
	Disposition string `json:"disposition"`
}

type groupRecord struct {
	Name        string `json:"groupName"`
	GID         uint32 `json:"gid"`
	Description string `json:"description"`
	Service     string `json:"service"`
	Disposition string `json:"disposition"`
}

const (
	nobody      = 65534 // the group of all of them: what they are in is not known here
	nologin     = "/usr/sbin/nologin"
	disposition = "container"
)

// An accounts is what users and groups have in common.
type accounts struct {
	kind            machine.IDKind
	idField, byName string
	prefix          string
	record          func(name string, outer, inner uint32, machine string) any
}

var (
	userAccounts = accounts{machine.UserID, "uid", "userName", "vu-",
		func(name string, outer, inner uint32, machine string) any {
			return userRecord{
				Name: name, UID: outer, GID: nobody, RealName: fmt.Sprintf("UID %d of Container %s", inner, machine),
				Home: "/", Shell: nologin, Locked: true, Service: providerName, Disposition: disposition,
			}
		}}
	groupAccounts = accounts{machine.GroupID, "gid", "groupName", "vg-",
		func(name string, outer, inner uint32, machine string) any {
			return groupRecord{
				Name: name, GID: outer, Description: fmt.Sprintf("GID %d of Container %s", inner, machine),
				Service: providerName, Disposition: disposition,
			}
		}}
)

// account finds a user or group by ID, which must then have the name that was
// given as well, or by name.
//
// Reference: machined-varlink.c, vl_method_get_user_record and …_group_record.
func (a *API) account(ctx context.Context, c *varlink.Call, of accounts) (any, error) {
	name := c.In.String(of.byName)
	var outer, inner uint32
	var m string
	var err error
	switch {
	case c.In.String("service") != providerName:
		return nil, errBadService
	case c.In.Has(of.idField):
		outer = uint32(c.In.Int(of.idField))
		m, inner, err = a.accountByID(ctx, of, outer)
	case name != "":
		var ok bool
		if m, inner, ok = splitAccount(name, of.prefix); !ok {
			return nil, errNoRecord
		}
		outer, err = a.accountByName(ctx, of, m, inner)
	default:
		return nil, errNoEnumeration
	}
	if err != nil {
		return nil, err
	}
	found := accountName(of.prefix, m, inner)
	switch {
	case !isStrictName(found):
		return nil, errNoRecord
	case name != "" && name != found:
		return nil, errConflict
	}
	return struct {
		Record any `json:"record"`
	}{of.record(found, outer, inner, m)}, nil
}

func (a *API) accountByID(ctx context.Context, of accounts, outer uint32) (name string, inner uint32, err error) {
	m, inner, err := a.Machines.MapTo(ctx, of.kind, outer)
	return m.Name, inner, orNoRecord(err)
}

func (a *API) accountByName(ctx context.Context, of accounts, name string, inner uint32) (uint32, error) {
	outer, err := a.Machines.MapFrom(ctx, name, of.kind, inner)
	return outer, orNoRecord(err)
}

func orNoRecord(err error) error {
	for _, none := range []error{
		machine1.ErrNoSuchMachine, machine1.ErrNoSuchUserMapping, machine1.ErrNoSuchGroupMapping, machine.ErrNotContainer,
	} {
		if errors.Is(err, none) {
			return errNoRecord
		}
	}
	return err
}

func getMemberships(_ context.Context, _ *API, c *varlink.Call) (any, error) {
	if c.In.String("service") != providerName {
		return nil, errBadService
	}
	return nil, errNoRecord
}
