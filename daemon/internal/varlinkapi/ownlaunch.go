package varlinkapi

import "github.com/machd/machd/daemon/internal/varlink"

// launchMethods start machines and set their limits.
var launchMethods = []varlink.Method[*API]{}
