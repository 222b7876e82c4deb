package machd_test

import (
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/machd/machd/pkg/machd"
)

func TestNetworkGoesOverTheBusAndBack(t *testing.T) {
	t.Parallel()
	for _, want := range []machd.NetworkStatus{
		{},
		{
			Link: "vb-a", GuestLink: "host0", Kind: machd.LinkZone, Zone: "z", Bridge: "vz-z", MAC: "02:00:00:00:00:01",
			Addresses: []string{"10.0.0.2/30"}, Gateways: []string{"10.0.0.1"}, Managed: true, By: machd.NetworkByMachd,
			DNS: []string{"10.0.0.1"}, Problems: []string{"its link is down"},
		},
	} {
		if diff := cmp.Diff(want, machd.NetworkStatusOf(want.Variants())); diff != "" {
			t.Error(diff)
		}
	}
	newer := map[string]dbus.Variant{
		"link": dbus.MakeVariant("ve-a"), "mac": dbus.MakeVariant([]byte{2}), "speed": dbus.MakeVariant(uint64(1)),
	}
	if diff := cmp.Diff(machd.NetworkStatus{Link: "ve-a"}, machd.NetworkStatusOf(newer)); diff != "" {
		t.Error(diff)
	}
}

func TestNetworkOptionsAreOptionsOfAStart(t *testing.T) {
	t.Parallel()
	want := machd.StartOptions{Wait: machd.WaitReady, NetworkOptions: machd.NetworkOptions{
		Network: "veth", Zone: "z", Bridge: "br0", VirtualEx: []string{"a:b"}, MACVLAN: []string{"eth0"}, IPVLAN: []string{"eth1"},
		Interfaces: []string{"eth2"}, Addresses: []string{"10.0.0.2/30"}, Gateways: []string{"10.0.0.1"}, MAC: "02:00:00:00:00:01",
		Publish: []string{"80"}, ExposeHost: []string{"5432"},
	}}
	if got, err := machd.ParseStartOptions(want.Variants()); err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v:\n%s", err, cmp.Diff(want, got))
	}
	ports := machd.PortOptions{Save: true, Inward: true}
	if got, err := machd.ParsePortOptions(ports.Variants()); err != nil || got != ports {
		t.Errorf("%+v, %v", got, err)
	}
	fix := machd.DiagnoseOptions{Fix: true}
	if got, err := machd.ParseDiagnoseOptions(fix.Variants()); err != nil || got != fix {
		t.Errorf("%+v, %v", got, err)
	}
}
