package varlinkapi

import (
	"math"

	"github.com/machd/machd/daemon/internal/varlink"
	"github.com/machd/machd/pkg/machine1"
)

var (
	source      = varlink.Field{Name: "source", Type: varlink.String, Valid: isNormalPath}
	destination = varlink.Field{Name: "destination", Doc: "The same as the source if left out", Type: varlink.String, Nullable: true, Valid: isNormalPath}
	readOnly    = varlink.Field{Name: "readOnly", Type: varlink.Bool, Nullable: true}
	makeDir     = varlink.Field{Name: "mkdir", Doc: "Make the destination, and what leads to it", Type: varlink.Bool, Nullable: true}
	replace     = varlink.Field{Name: "replace", Doc: "Replace files that exist already", Type: varlink.Bool, Nullable: true}

	mappedIDs = varlink.Fields{
		{Name: "uid", Type: varlink.Int, Nullable: true},
		{Name: "gid", Type: varlink.Int, Nullable: true},
	}
)

// insideMethods are about what is in a machine.
var insideMethods = []varlink.Method[*API]{
	{
		Name: "Open",
		Doc:  "Opens a terminal in a machine: alone, with a login prompt, or with a program on it",
		In: onMachine(
			varlink.Field{Name: "mode", Type: openMode},
			varlink.Field{Name: "user", Doc: "By name; root if left out. For a shell, like the rest", Type: varlink.String, Nullable: true, Valid: isUserName},
			varlink.Field{Name: "path", Doc: "The user's shell if left out; no arguments are passed then", Type: varlink.String, Nullable: true, Valid: isPath},
			varlink.Field{Name: "args", Doc: "With the zeroth", Type: varlink.Array(varlink.String), Nullable: true},
			varlink.Field{Name: "environment", Type: varlink.Array(varlink.String), Nullable: true, Valid: isEnvironment}),
		Out: varlink.Fields{
			{Name: "ptyFileDescriptor", Doc: "The master's index among the descriptors sent along", Type: varlink.Int},
			{Name: "ptyPath", Doc: "The other end, inside", Type: varlink.String},
		},
		Access: machine1.ActionOpenPTY, // and login or shell, by mode
		Func:   open,
	},
	{
		Name: "MapFrom",
		Doc:  "Tells which IDs of the host a machine's IDs are",
		In: varlink.Fields{
			{Name: "name", Type: varlink.String, Nullable: true, Valid: isLookupName},
			{Name: "pid", Type: processID, Nullable: true, NullIsAbsent: true, Valid: isLookupProcess},
			// The reference declares it and refuses it: nobody is asked here.
			{Name: interactiveField, Type: varlink.Bool, Nullable: true, Refused: true},
			{Name: "uid", Type: varlink.ExactInt, Nullable: true, Valid: isUserID},
			{Name: "gid", Type: varlink.ExactInt, Nullable: true, Valid: isUserID},
		},
		Out:  mappedIDs,
		Func: mapFrom,
	},
	{
		Name: "MapTo",
		Doc:  "Tells which machine IDs of the host belong to, and what they are there",
		In: varlink.Fields{
			{Name: "uid", Type: varlink.ExactInt, Nullable: true, Valid: isUserID},
			{Name: "gid", Type: varlink.ExactInt, Nullable: true, Valid: isUserID},
		},
		Out:  append(mappedIDs[:2:2], varlink.Field{Name: "machineName", Type: varlink.String, Nullable: true}),
		Func: mapTo,
	},
	{
		Name:   "BindMount",
		Doc:    "Shows a file or directory of the host in a machine",
		In:     onMachine(source, destination, readOnly, makeDir),
		Access: machine1.ActionManageMachines,
		Func:   bindMount,
	},
	{
		Name:   "CopyFrom",
		Doc:    "Copies a file or directory of a machine to the host",
		In:     onMachine(source, destination, replace),
		Access: machine1.ActionManageMachines,
		Func:   copyFrom,
	},
	{
		Name:   "CopyTo",
		Doc:    "Copies a file or directory of the host to a machine",
		In:     onMachine(source, destination, replace),
		Access: machine1.ActionManageMachines,
		Func:   copyTo,
	},
	{
		Name:   "OpenRootDirectory",
		Doc:    "Opens the root directory of a machine",
		In:     onMachine(),
		Out:    varlink.Fields{{Name: "fileDescriptor", Doc: "Its index among the descriptors sent along", Type: varlink.Int}},
		Access: machine1.ActionManageMachines,
		Func:   openRootDirectory,
	},
}

// isUserID refuses the numbers that mean "nobody" in 16 and in 32 bits.
//
// Reference: user-util.c, uid_is_valid.
func isUserID(v any) bool {
	id := v.(int64)
	return 0 <= id && id < math.MaxUint32 && id != math.MaxUint16
}
