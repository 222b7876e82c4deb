package varlinkapi

import "github.com/machd/machd/daemon/internal/varlink"

// stopMethods end machines and wait for them.
var stopMethods = []varlink.Method[*API]{}
