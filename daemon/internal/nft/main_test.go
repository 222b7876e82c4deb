package nft_test

import (
	"runtime"
	"testing"

	"github.com/machd/machd/test/netlab"
)

// The first thread stays in the namespace that the process was made in.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) { netlab.Main(m) }
