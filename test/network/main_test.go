// Package network has the tests of what others do to the network of a host on
// which machines have one: firewalls, docker, libvirt, and in a machine the
// programs that ask for addresses. testhost runs them in a host that has all of
// these, with machd:
//
//	testhost test --net ./test/network
//
// All of them change the host's rules, and so none is parallel.
package network

import (
	"testing"

	"github.com/machd/machd/test/live"
)

func TestMain(m *testing.M) { live.Main(m) }
