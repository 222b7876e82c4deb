package link

// Inside runs do on a thread that is in the namespace.
func (s *Space) Inside(do func() error) error { return s.inside(do) }

// Sysctl and SetSysctl are the namespace's switches.
func (s *Space) Sysctl(path string) (string, error) { return s.sysctl(path) }
func (s *Space) SetSysctl(path, value string) error { return s.setSysctl(path, value) }

// WithoutForce makes the kernel one that cannot have single links pass IPv6 on.
func (f *Forwarder) WithoutForce() { f.force = "no_such_switch" }

// BeforeSwitch has do called before each switch is set.
func (f *Forwarder) BeforeSwitch(do func()) {
	set := f.set
	f.set = func(path, value string) error {
		do()
		return set(path, value)
	}
}

// RefuseSwitch has one switch refused with err, after that many were set.
func (f *Forwarder) RefuseSwitch(after int, err error) {
	set := f.set
	f.set = func(path, value string) error {
		after--
		if after == -1 {
			return err
		}
		return set(path, value)
	}
}
