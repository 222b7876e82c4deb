package image

// architectures are all the names that a version's file may end in.
//
// Reference: architecture.c.
var architectures = []string{
	"alpha", "arc", "arc-be", "arm", "arm-be", "arm64", "arm64-be", "cris", "ia64", "loongarch64", "m68k",
	"mips", "mips-le", "mips64", "mips64-le", "nios2", "parisc", "parisc64", "ppc", "ppc-le", "ppc64", "ppc64-le",
	"riscv32", "riscv64", "s390", "s390x", "sh", "sh64", "sparc", "sparc64", "tilegx", "x86", "x86-64",
}

// localArchitectures are those that a host runs, by Go's name of its own, the
// best first.
var localArchitectures = map[string][]string{
	"386":      {"x86"},
	"amd64":    {"x86-64", "x86"},
	"arm":      {"arm"},
	"arm64":    {"arm64", "arm"},
	"loong64":  {"loongarch64"},
	"mips":     {"mips"},
	"mips64":   {"mips64"},
	"mips64le": {"mips64-le"},
	"mipsle":   {"mips-le"},
	"ppc64":    {"ppc64", "ppc"},
	"ppc64le":  {"ppc64-le", "ppc-le"},
	"riscv64":  {"riscv64"},
	"s390x":    {"s390x", "s390"},
}
