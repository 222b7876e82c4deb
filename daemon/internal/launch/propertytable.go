package launch

import "strings"

// What PID 1 tells of a unit and takes for one without a file differs. These
// tables hold every property that systemd 257 and 262 have; what is in none of
// them, in a later one, is named to whoever asks for a plan.

// isPlain are the properties that are set as they are read.
var isPlain = words(`
	After AllowIsolate AllowedCPUs AllowedMemoryNodes AmbientCapabilities BPFDelegateAttachments
	BPFDelegateCommands BPFDelegateMaps BPFDelegatePrograms Before BindLogSockets BindNetworkInterface BindsTo
	BlockIOAccounting BlockIOWeight BusName CPUAccounting CPUAffinity CPUAffinityFromNUMA
	CPUPressureThresholdUSec CPUPressureWatch CPUQuotaPerSecUSec CPUQuotaPeriodUSec CPUSchedulingPolicy
	CPUSchedulingPriority CPUSchedulingResetOnFork CPUSetPartition CPUShares CPUWeight CacheDirectory
	CacheDirectoryAccounting CacheDirectoryMode CapabilityBoundingSet CollectMode ConfigurationDirectory
	ConfigurationDirectoryMode Conflicts CoredumpFilter CoredumpReceive DefaultDependencies DefaultMemoryLow
	DefaultMemoryMin DefaultStartupMemoryLow Delegate DelegateControllers DelegateNamespaces DelegateSubgroup
	Description DevicePolicy DisableControllers Documentation DynamicUser Environment ExecPaths ExecSearchPath
	ExitType ExtensionDirectories ExtensionImagePolicy FailureAction FailureActionExitStatus
	FileDescriptorStoreMax FileDescriptorStorePreserve FinalKillSignal Group GuessMainPID IOAccounting
	IOPressureThresholdUSec IOPressureWatch IOSchedulingClass IOSchedulingPriority IOWeight IPAccounting
	IPCNamespacePath IPEgressFilterPath IPIngressFilterPath IgnoreOnIsolate IgnoreSIGPIPE ImportCredential
	InaccessiblePaths JobRunningTimeoutUSec JobTimeoutAction JobTimeoutRebootArgument JoinsNamespaceOf
	KeyringMode KillMode KillSignal LUOSession LimitAS LimitASSoft LimitCORE LimitCORESoft LimitCPU LimitCPUSoft
	LimitDATA LimitDATASoft LimitFSIZE LimitFSIZESoft LimitLOCKS LimitLOCKSSoft LimitMEMLOCK LimitMEMLOCKSoft
	LimitMSGQUEUE LimitMSGQUEUESoft LimitNICE LimitNICESoft LimitNOFILE LimitNOFILESoft LimitNPROC LimitNPROCSoft
	LimitRSS LimitRSSSoft LimitRTPRIO LimitRTPRIOSoft LimitRTTIME LimitRTTIMESoft LimitSIGPENDING
	LimitSIGPENDINGSoft LimitSTACK LimitSTACKSoft LockPersonality LogExtraFields LogLevelMax LogNamespace
	LogRateLimitBurst LogRateLimitIntervalUSec LogsDirectory LogsDirectoryAccounting LogsDirectoryMode
	ManagedOOMMemoryPressure ManagedOOMMemoryPressureDurationUSec ManagedOOMMemoryPressureLimit
	ManagedOOMPreference ManagedOOMSwap MemoryAccounting MemoryDenyWriteExecute MemoryHigh MemoryKSM MemoryLimit
	MemoryLow MemoryMax MemoryMin MemoryPressureThresholdUSec MemoryPressureWatch MemorySwapMax MemoryTHP
	MemoryZSwapMax MemoryZSwapWriteback MountAPIVFS MountFlags MountImagePolicy NUMAMask NUMAPolicy
	NetworkNamespacePath Nice NoExecPaths NoNewPrivileges NonBlocking NotifyAccess OOMPolicy OOMRules
	OOMScoreAdjust OnFailure OnFailureJobMode OnSuccess OnSuccessJobMode PAMName PIDFile PartOf PassEnvironment
	Personality PrivateBPF PrivateDevices PrivateIPC PrivateMounts PrivateNetwork PrivatePIDs PrivateTmp
	PrivateTmpEx PrivateUsers PrivateUsersEx ProcSubset PropagatesReloadTo PropagatesStopTo ProtectClock
	ProtectControlGroups ProtectControlGroupsEx ProtectHome ProtectHostname ProtectKernelLogs
	ProtectKernelModules ProtectKernelTunables ProtectProc ProtectSystem ReadOnlyPaths ReadWritePaths
	RebootArgument RefuseManualStart RefuseManualStop ReloadPropagatedFrom ReloadSignal RemainAfterExit RemoveIPC
	Requires RequiresMountsFor Requisite Restart RestartKillSignal RestartMaxDelayUSec RestartMode
	RestartRandomizedDelayUSec RestartSteps RestartUSec RestrictNamespaces RestrictRealtime RestrictSUIDSGID
	RootDirectory RootDirectoryStartOnly RootEphemeral RootHash RootHashPath RootHashSignature
	RootHashSignaturePath RootImage RootImagePolicy RootMStack RootVerity RuntimeDirectory RuntimeDirectoryMode
	RuntimeDirectoryPreserve RuntimeMaxUSec RuntimeRandomizedExtraUSec SecureBits SendSIGHUP SendSIGKILL
	SetLoginEnvironment Slice SourcePath StandardError StandardErrorFileDescriptorName StandardInput
	StandardInputData StandardInputFileDescriptorName StandardOutput StandardOutputFileDescriptorName
	StartLimitAction StartLimitBurst StartLimitIntervalUSec StartupAllowedCPUs StartupAllowedMemoryNodes
	StartupBlockIOWeight StartupCPUShares StartupCPUWeight StartupIOWeight StartupMemoryHigh StartupMemoryLow
	StartupMemoryMax StartupMemorySwapMax StartupMemoryZSwapMax StateDirectory StateDirectoryAccounting
	StateDirectoryMode StopPropagatedFrom StopWhenUnneeded SuccessAction SuccessActionExitStatus
	SupplementaryGroups SurviveFinalKillSignal SyslogFacility SyslogIdentifier SyslogLevel SyslogLevelPrefix
	SystemCallArchitectures SystemCallErrorNumber TTYPath TTYReset TTYVHangup TTYVTDisallocate TasksAccounting
	TasksMax TimeoutAbortUSec TimeoutStartFailureMode TimeoutStartUSec TimeoutStopFailureMode TimeoutStopUSec
	TimerSlackNSec Type UMask USBFunctionDescriptors USBFunctionStrings UnsetEnvironment Upholds User
	UserNamespacePath UtmpIdentifier UtmpMode Wants WantsMountsFor WatchdogSignal WatchdogUSec WorkingDirectory`)

// structures are the properties with more than one value in each element, and
// their signatures as they are set. Some are longer as they are read.
var structures = map[string]string{
	"AppArmorProfile": "(bs)", "SELinuxContext": "(bs)", "SmackProcessLabel": "(bs)", "ProtectHostnameEx": "(ss)",
	"Asserts": conditions, "Conditions": conditions,
	"BPFProgram": "a(ss)", "DeviceAllow": "a(ss)", "ImportCredentialEx": "a(ss)", "LoadCredential": "a(ss)",
	"LoadCredentialEncrypted": "a(ss)", "RootImageOptions": "a(ss)", "TemporaryFileSystem": "a(ss)",
	"BindPaths": "a(ssbt)", "BindReadOnlyPaths": "a(ssbt)",
	"CacheDirectorySymlink": "a(sst)", "LogsDirectorySymlink": "a(sst)", "RuntimeDirectorySymlink": "a(sst)",
	"StateDirectorySymlink": "a(sst)", "OpenFile": "a(sst)",
	"EnvironmentFiles": "a(sb)", "LogFilterPatterns": "a(bs)",
	"ExecConditionEx": execs, "ExecReloadEx": execs, "ExecReloadPostEx": execs, "ExecStartEx": execs, "ExecStartPostEx": execs,
	"ExecStartPreEx": execs, "ExecStopEx": execs, "ExecStopPostEx": execs,
	"ExtensionImages": "a(sba(ss))", "MountImages": "a(ssba(ss))",
	"BlockIODeviceWeight": "a(st)", "BlockIOReadBandwidth": "a(st)", "BlockIOWriteBandwidth": "a(st)",
	"IODeviceLatencyTargetUSec": "a(st)", "IODeviceWeight": "a(st)",
	"IOReadBandwidthMax": "a(st)", "IOReadIOPSMax": "a(st)", "IOWriteBandwidthMax": "a(st)", "IOWriteIOPSMax": "a(st)",
	"IPAddressAllow": "a(iayu)", "IPAddressDeny": "a(iayu)", "NFTSet": "a(iiss)",
	"SetCredential": "a(say)", "SetCredentialEncrypted": "a(say)",
	"SocketBindAllow": "a(iiqq)", "SocketBindDeny": "a(iiqq)",
	"RestartForceExitStatus": "(aiai)", "RestartPreventExitStatus": "(aiai)", "SuccessExitStatus": "(aiai)",
	"RestrictAddressFamilies": "(bas)", "RestrictFileSystems": "(bas)", "RestrictNetworkInterfaces": "(bas)",
	"SystemCallFilter": "(bas)", "SystemCallLog": "(bas)",
}

// execs is the signature of commands: program, arguments with the first one,
// and flags such as ignore-failure.
const execs = "a(sasas)"

// conditions is the signature of what a unit asks for before it is started:
// kind, whether one of several is enough, whether it must not be, and parameter.
const conditions = "a(sbbs)"

// isReversed are the lists that PID 1 puts each new element in front of.
var isReversed = words(`Asserts Conditions DeviceAllow`)

// isDerived are the properties that follow from others, that a second one tells
// more about, or that are the unit's state.
var isDerived = words(`
	AccessSELinuxContext ActivationDetails ActiveEnterTimestamp ActiveEnterTimestampMonotonic
	ActiveExitTimestamp ActiveExitTimestampMonotonic ActiveState AssertResult AssertTimestamp
	AssertTimestampMonotonic CPUUsageNSec CacheDirectoryQuotaUsage CanClean CanFreeze CanIsolate CanLiveMount
	CanReload CanStart CanStop CleanResult ConditionResult ConditionTimestamp ConditionTimestampMonotonic
	ConsistsOf ControlGroup ControlGroupId ControlPID DebugInvocation DropInPaths EffectiveCPUs
	EffectiveMemoryHigh EffectiveMemoryMax EffectiveMemoryNodes EffectiveTasksMax
	ExecCondition ExecReload ExecReloadPost ExecStart ExecStartPost ExecStartPre ExecStop ExecStopPost
	ExecMainCode ExecMainExitTimestamp ExecMainExitTimestampMonotonic ExecMainHandoffTimestamp
	ExecMainHandoffTimestampMonotonic ExecMainPID ExecMainStartTimestamp ExecMainStartTimestampMonotonic
	ExecMainStatus ExtraFileDescriptorNames Following FragmentPath FreezerState GID IOReadBytes IOReadOperations
	IOWriteBytes IOWriteOperations IPEgressBytes IPEgressPackets IPIngressBytes IPIngressPackets Id
	InactiveEnterTimestamp InactiveEnterTimestampMonotonic InactiveExitTimestamp InactiveExitTimestampMonotonic
	InvocationID Job LiveMountResult LoadError LoadState LogsDirectoryQuotaUsage MainPID ManagedOOMKills Markers
	MemoryAvailable MemoryCurrent MemoryPeak MemorySwapCurrent MemorySwapPeak MemoryZSwapCurrent
	NFileDescriptorStore NRestarts Names NeedDaemonReload OOMKills Perpetual Refs ReloadResult RestartUSecNext
	Result SameProcessGroup SliceOf StateChangeTimestamp StateChangeTimestampMonotonic StateDirectoryQuotaUsage
	StatusBusError StatusErrno StatusText StatusVarlinkError SubState SyslogPriority TasksCurrent Transient
	Triggers UID UnitFilePreset UnitFileState WatchdogTimestamp WatchdogTimestampMonotonic`)

// isByFileOnly are the properties that PID 1 takes from a unit file only, or
// that other units' files say.
var isByFileOnly = words(`
	BoundBy CacheDirectoryQuota ConflictedBy JobTimeoutUSec LogsDirectoryQuota OnFailureOf OnSuccessOf
	RefreshOnReload RequiredBy RequisiteOf StateDirectoryQuota TTYColumns TTYRows TimeoutCleanUSec TriggeredBy
	UpheldBy WantedBy`)

// isStream are the properties with what a service reads and writes. Which file
// that is is not told.
var (
	isStream     = words(`StandardInput StandardOutput StandardError`)
	plainStreams = []string{"null", "tty", "tty-force", "tty-fail", "journal", "kmsg", "journal+console", "kmsg+console", "inherit", "socket", "data"}
)

func words(text string) map[string]bool {
	set := map[string]bool{}
	for _, word := range strings.Fields(text) {
		set[word] = true
	}
	return set
}
