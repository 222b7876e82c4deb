package varlinkapi

import "slices"

// launchMethods start machines and set their limits.
var launchMethods = slices.Concat(startMethods)
