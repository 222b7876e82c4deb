package varlinkapi

import "github.com/machd/machd/daemon/internal/varlink"

// usageMethods tell what machines take of the host.
var usageMethods = []varlink.Method[*API]{}
