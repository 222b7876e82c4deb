// Command machctl lists, shows, starts, stops and enters the machines of this
// host: containers and virtual machines known to machd. It parses words, calls
// package client and prints.
package main

import (
	"os"
	"runtime"
)

func main() {
	// The password agent dies with the thread that started it.
	runtime.LockOSThread()
	os.Exit(run(os.Args))
}
