package varlinkapi

import "github.com/machd/machd/daemon/internal/varlink"

// execMethods run commands in machines.
var execMethods = []varlink.Method[*API]{}
