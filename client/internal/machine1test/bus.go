package machine1test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=%s/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true"/>
    <allow receive_type="method_call"/>
    <allow receive_type="signal"/>
    <allow receive_requested_reply="true"/>
    <allow eavesdrop="false"/>
  </policy>
  <limit name="max_match_rules_per_connection">50000</limit>
  <limit name="max_replies_per_connection">50000</limit>
</busconfig>
`

// A busDaemon is a dbus-daemon that serves one directory of its own.
type busDaemon struct {
	address string

	dir  string
	cmd  *exec.Cmd
	once sync.Once
}

func startBus() (*busDaemon, error) {
	dir, err := os.MkdirTemp("", "machine1test")
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, busConfig, dir), 0o644); err != nil {
		return nil, err
	}
	cmd := exec.Command("dbus-daemon", "--config-file="+config, "--nofork", "--nopidfile", "--print-address=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("cannot start a bus: %w", err)
	}
	b := &busDaemon{dir: dir, cmd: cmd}
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.stop()
		return nil, fmt.Errorf("dbus-daemon tells no address: %w", err)
	}
	b.address = strings.TrimSpace(address)
	return b, os.Chmod(dir, 0o755)
}

func (b *busDaemon) stop() {
	b.once.Do(func() {
		b.cmd.Process.Kill()
		b.cmd.Wait()
		os.RemoveAll(b.dir)
	})
}
