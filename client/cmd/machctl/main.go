// Command machctl lists, shows, starts, stops and enters the machines of this
// host: containers and virtual machines known to machd. It parses words, calls
// package client and prints.
package main

import "os"

func main() {
	os.Exit(run(os.Args))
}
