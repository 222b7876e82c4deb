package dbustest

import "fmt"

const configFormat = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
<listen>unix:path=%s/bus</listen>
<auth>EXTERNAL</auth>
%s
</busconfig>
`

func configFile(dir, config string) []byte {
	return fmt.Appendf(nil, configFormat, dir, config)
}

// sessionConfig allows everything. The limits are beyond what a test needs,
// so that what it sees is a limit of ours.
const sessionConfig = `<type>session</type>
<policy context="default">
  <allow send_destination="*" eavesdrop="true"/>
  <allow eavesdrop="true"/>
  <allow own="*"/>
</policy>
<limit name="max_incoming_bytes">1000000000</limit>
<limit name="max_outgoing_bytes">1000000000</limit>
<limit name="max_message_size">1000000000</limit>
<limit name="max_incoming_unix_fds">100000</limit>
<limit name="max_outgoing_unix_fds">100000</limit>
<limit name="max_message_unix_fds">253</limit>
<limit name="max_completed_connections">10000</limit>
<limit name="max_connections_per_user">10000</limit>
<limit name="max_replies_per_connection">100000</limit>
`

// systemConfig is closed until a policy file opens it. The limits are
// dbus-daemon's own.
const systemConfig = `<type>system</type>
<policy context="default">
  <allow user="*"/>
  <deny own="*"/>
  <deny send_type="method_call"/>
  <allow send_type="signal"/>
  <allow send_requested_reply="true" send_type="method_return"/>
  <allow send_requested_reply="true" send_type="error"/>
  <allow receive_type="method_call"/>
  <allow receive_type="method_return"/>
  <allow receive_type="error"/>
  <allow receive_type="signal"/>
  <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
  <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Introspectable"/>
  <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Properties"/>
</policy>
<policy user="root">
  <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus.Monitoring"/>
</policy>
`
