package gate

import "testing"

func TestSocketNamesComeFromBusAddresses(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"unix:path=/run/dbus/system_bus_socket":  "/run/dbus/system_bus_socket",
		"unix:guid=00,path=/a%20b+c%2fd":         "/a b+c/d",
		"unix:abstract=/tmp/dbus-x,guid=0123":    "@/tmp/dbus-x",
		"tcp:host=localhost,port=1":              "",
		"unix:tmpdir=/tmp":                       "",
		"unix:path=%zz":                          "",
		"/run/dbus/system_bus_socket":            "",
		"unixexec:path=/bin/cat":                 "",
		"unix:runtime=yes":                       "",
		"unix:path=/first,path=/second":          "/first",
		"unix:":                                  "",
		"":                                       "",
		"unix:abstract=,path=/ignored":           "@",
		"unix:path=/run/user/1000/bus,guid=abcd": "/run/user/1000/bus",
	} {
		if got, err := SocketName(address); got != want || (err != nil) != (want == "") {
			t.Errorf("%q: got %q, %v", address, got, err)
		}
	}
}
