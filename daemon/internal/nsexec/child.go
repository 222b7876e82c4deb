package nsexec

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What the runtime has done around a fork of its own.

//go:linkname beforeFork syscall.runtime_BeforeFork
func beforeFork()

//go:linkname afterFork syscall.runtime_AfterFork
func afterFork()

//go:linkname afterForkInChild syscall.runtime_AfterForkInChild
func afterForkInChild()

// A stage is where a child was when something failed.
type stage uint32

const (
	stageNone stage = iota
	stageLimit
	stageNamespaces
	stageRoot
	stageStreams
	stageTerminal
	stageCapabilities
	stageGroups
	stageUser
	stagePrivileges
	stageDirectory
	stageProgram
)

func (s stage) String() string {
	return [...]string{"nothing", "set its limits", "enter its namespaces", "enter its root directory", "set up the streams",
		"take the terminal", "give up capabilities", "take the groups", "become the user", "give up new privileges",
		"enter the directory", "run the program"}[s]
}

// A mishap is why there is no command.
type mishap struct {
	Stage stage
	Errno uint32
}

// cloneArgs is struct clone_args of clone3(2).
type cloneArgs struct {
	flags, pidFD, childTID, parentTID, exitSignal, stack, stackSize, tls, setTID, setTIDSize, cgroup uint64
}

const (
	cloneFlags = unix.CLONE_PIDFD | unix.CLONE_PARENT | 0x100000000 /* CLONE_CLEAR_SIGHAND */ | 0x200000000 /* CLONE_INTO_CGROUP */

	capVersion3 = 0x20080522
	lastCap     = 63

	lastSignal    = 64
	signalSetSize = lastSignal / 8 // bytes
)

// A child is all that a command is made of, in a form that needs no memory.
type child struct {
	leader, root, cgroup int // descriptors
	stdio                [3]int
	report               int // where a mishap goes

	program, directory *byte
	argv, envv         []*byte
	slash, dot         *byte
	elseRoot           bool
	namespaces         uintptr
	bounding           uint64
	noNewPrivs         bool
	terminal           bool
	limits             []limit
	groups             []uint32
	uid, gid           uint32
	byDefault          [4]uint64 // the kernel's struct sigaction: by default
	capHeader          [2]uint32 // version, pid
	capData            [6]uint32 // effective, permitted, inheritable, twice
	mishap             mishap
}

func newChild(s spec) (c *child, err error) {
	c = &child{
		elseRoot: s.ElseRoot, namespaces: uintptr(s.Namespaces), bounding: s.Bounding, noNewPrivs: s.NoNewPrivs,
		terminal: s.Terminal, limits: s.Limits, groups: s.Groups, uid: s.UID, gid: s.GID,
		capHeader: [2]uint32{capVersion3, 0},
	}
	if c.program, err = syscall.BytePtrFromString(s.Program); err != nil {
		return nil, err
	}
	if c.directory, err = syscall.BytePtrFromString(s.Directory); err != nil {
		return nil, err
	}
	if c.argv, err = syscall.SlicePtrFromStrings(s.Args); err != nil {
		return nil, err
	}
	if c.envv, err = syscall.SlicePtrFromStrings(s.Env); err != nil {
		return nil, err
	}
	c.slash, _ = syscall.BytePtrFromString("/")
	c.dot, _ = syscall.BytePtrFromString(".")
	return c, nil
}

// start makes the process, in the leader's PID namespace, whose parent is our
// own parent. It belongs on a thread that is good for nothing else afterwards.
func (c *child) start() (pid, pidfd int, err error) {
	runtime.LockOSThread()
	if err := unix.Setns(c.leader, unix.CLONE_NEWPID); err != nil {
		return 0, -1, fmt.Errorf("cannot enter the machine's PID namespace: %w", err)
	}
	var fd int32 = -1
	args := cloneArgs{flags: cloneFlags, pidFD: uint64(uintptr(unsafe.Pointer(&fd))), cgroup: uint64(c.cgroup)}
	r, errno := c.clone(&args)
	runtime.KeepAlive(&fd)
	if errno != 0 {
		return 0, -1, fmt.Errorf("cannot make a process in the machine: %w", errno)
	}
	return int(r), int(fd), nil
}

// clone returns in the parent only.
//
//go:noinline
//go:norace
func (c *child) clone(args *cloneArgs) (uintptr, syscall.Errno) {
	beforeFork()
	r, _, errno := syscall.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(args)), unsafe.Sizeof(*args), 0)
	if errno != 0 || r != 0 {
		afterFork()
		return r, errno
	}
	afterForkInChild()
	c.run()
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, 127, 0, 0)
	}
}

// run is all that the child does. No other thread exists in it: it must not
// allocate, take locks, or grow its stack, so it makes system calls only. It is
// one function because calls among functions that may not grow the stack have
// to fit into the little that there always is.
//
//go:noinline
//go:norace
//go:nosplit
func (c *child) run() {
	var e syscall.Errno
	at := stageLimit
	for i := 0; i < len(c.limits); i++ {
		_, _, e = syscall.RawSyscall6(unix.SYS_PRLIMIT64, 0, uintptr(c.limits[i].Resource), uintptr(unsafe.Pointer(&c.limits[i].Value)), 0, 0, 0)
		if e != 0 {
			goto failed
		}
	}
	// Nothing of ours: ignored signals, groups, keys, session.
	for i := 1; i <= lastSignal; i++ {
		syscall.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(i), uintptr(unsafe.Pointer(&c.byDefault)), 0, signalSetSize, 0, 0)
	}
	syscall.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0)
	at = stageNamespaces
	if _, _, e = syscall.RawSyscall(unix.SYS_SETNS, uintptr(c.leader), c.namespaces, 0); e != 0 {
		goto failed
	}
	at = stageRoot
	if _, _, e = syscall.RawSyscall(unix.SYS_FCHDIR, uintptr(c.root), 0, 0); e != 0 {
		goto failed
	}
	if _, _, e = syscall.RawSyscall(unix.SYS_CHROOT, uintptr(unsafe.Pointer(c.dot)), 0, 0); e != 0 {
		goto failed
	}
	syscall.RawSyscall(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0)
	syscall.RawSyscall(unix.SYS_SETSID, 0, 0, 0)
	syscall.RawSyscall(unix.SYS_UMASK, 0o022, 0, 0)
	at = stageStreams
	for i := 0; i < len(c.stdio); i++ {
		if _, _, e = syscall.RawSyscall(unix.SYS_DUP3, uintptr(c.stdio[i]), uintptr(i), 0); e != 0 {
			goto failed
		}
	}
	at = stageTerminal
	if c.terminal {
		if _, _, e = syscall.RawSyscall(unix.SYS_IOCTL, 0, unix.TIOCSCTTY, 0); e != 0 {
			goto failed
		}
	}
	at = stageCapabilities
	for i := 0; i <= lastCap; i++ {
		if c.bounding&(1<<uint(i)) != 0 {
			continue
		}
		_, _, e = syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, uintptr(i), 0, 0, 0, 0)
		if e == syscall.EINVAL {
			break // beyond the last that the kernel knows
		}
		if e != 0 {
			goto failed
		}
	}
	syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, 0)
	if _, _, e = syscall.RawSyscall(unix.SYS_CAPGET, uintptr(unsafe.Pointer(&c.capHeader)), uintptr(unsafe.Pointer(&c.capData)), 0); e != 0 {
		goto failed
	}
	c.capData[2], c.capData[5] = 0, 0
	if _, _, e = syscall.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&c.capHeader)), uintptr(unsafe.Pointer(&c.capData)), 0); e != 0 {
		goto failed
	}
	at = stageGroups
	if len(c.groups) > 0 {
		if _, _, e = syscall.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(c.groups)), uintptr(unsafe.Pointer(&c.groups[0])), 0); e != 0 {
			goto failed
		}
	}
	if _, _, e = syscall.RawSyscall(unix.SYS_SETRESGID, uintptr(c.gid), uintptr(c.gid), uintptr(c.gid)); e != 0 {
		goto failed
	}
	at = stageUser
	if _, _, e = syscall.RawSyscall(unix.SYS_SETRESUID, uintptr(c.uid), uintptr(c.uid), uintptr(c.uid)); e != 0 {
		goto failed
	}
	at = stagePrivileges
	if c.noNewPrivs {
		if _, _, e = syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); e != 0 {
			goto failed
		}
	}
	at = stageDirectory
	if _, _, e = syscall.RawSyscall(unix.SYS_CHDIR, uintptr(unsafe.Pointer(c.directory)), 0, 0); e != 0 && c.elseRoot {
		_, _, e = syscall.RawSyscall(unix.SYS_CHDIR, uintptr(unsafe.Pointer(c.slash)), 0, 0)
	}
	if e != 0 {
		goto failed
	}
	at = stageProgram
	if _, _, e = syscall.RawSyscall(unix.SYS_CLOSE_RANGE, 3, ^uintptr(0)>>32, unix.CLOSE_RANGE_CLOEXEC); e != 0 {
		goto failed
	}
	_, _, e = syscall.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(c.program)),
		uintptr(unsafe.Pointer(&c.argv[0])), uintptr(unsafe.Pointer(&c.envv[0])))
failed:
	c.mishap.Stage, c.mishap.Errno = at, uint32(e)
	syscall.RawSyscall(unix.SYS_WRITE, uintptr(c.report), uintptr(unsafe.Pointer(&c.mishap)), unsafe.Sizeof(c.mishap))
}
