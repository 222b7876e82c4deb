package nsexec

import (
	"fmt"
	"os"
	"testing"
)

// The test binary is also the program of helpers.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == HelperArgument {
		if err := RunHelper(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
