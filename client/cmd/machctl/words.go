package main

// words says what the arguments of a verb are, for whoever completes them: the
// first one, the second one, and so on; the last kind is that of all the rest.
type words []wordKind

// A wordKind is what one argument names.
type wordKind int

const (
	wordNone         wordKind = iota // nothing that could be known here
	wordMachine                      // a machine that runs
	wordHost                         // the same, or .host
	wordUserAt                       // the same, behind a user of it and "@" perhaps
	wordImage                        // an image
	wordStart                        // an image whose name a machine can have
	wordFile                         // a file of this host
	wordInside                       // a file in the machine that is the first argument
	wordCommand                      // a program in the machine that is the first argument
	wordPort                         // a port that leads to the machine
	wordBool                         // yes or no
	wordVerb                         // a verb, or a topic of the help
	wordTransfer                     // the number of a transfer
	wordPortVerb                     // add, remove, list
	wordSnapshotVerb                 // create, list, restore, remove
	wordSnapshot                     // a snapshot of the image before it
	wordShell                        // a shell that completes
)
