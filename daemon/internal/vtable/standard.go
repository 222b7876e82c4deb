package vtable

import "errors"

const (
	peerName           = "org.freedesktop.DBus.Peer"
	introspectableName = "org.freedesktop.DBus.Introspectable"
	propertiesName     = "org.freedesktop.DBus.Properties"
)

// standardFaces returns the interfaces that every object has, in the order of
// introspection. Their rows need no target: they look at the whole object.
// d may be nil if nothing is going to be called.
func standardFaces(d *dispatcher) []*face {
	faces := []*face{
		{name: peerName, methods: []*method{
			{name: "Ping", invoke: ping},
			{name: "GetMachineId", out: []argument{{"machine_uuid", "s"}}, invoke: d.getMachineID},
		}},
		{name: introspectableName, methods: []*method{
			{name: "Introspect", out: []argument{{"xml_data", "s"}}, invoke: d.introspect},
		}},
		{name: propertiesName, methods: []*method{
			{name: "Get", in: []argument{{"interface_name", "s"}, {"property_name", "s"}}, out: []argument{{"value", "v"}}, invoke: get},
			{name: "GetAll", in: []argument{{"interface_name", "s"}}, out: []argument{{"props", "a{sv}"}}, invoke: d.getAll},
			{name: "Set", in: []argument{{"interface_name", "s"}, {"property_name", "s"}, {"value", "v"}}, invoke: set},
		}, signals: []Signal{{
			Name: "PropertiesChanged", Args: "interface_name changed_properties invalidated_properties", Types: "sa{sv}as",
		}}},
	}
	for _, f := range faces {
		for _, m := range f.methods {
			m.iface, m.inSig, m.outSig = f.name, signatureOf(m.in), signatureOf(m.out)
			m.properties = f.name == propertiesName
		}
		if err := f.index(); err != nil {
			panic(err)
		}
		f.xml = f.introspect()
	}
	return faces
}

func ping(x *exchange) error { return nil }

func (d *dispatcher) getMachineID(x *exchange) error {
	if d.cfg.MachineID == nil {
		return errors.New("the machine ID is not known")
	}
	id, err := d.cfg.MachineID()
	if err != nil {
		return err
	}
	x.encoder.Text(id)
	return nil
}

func (d *dispatcher) introspect(x *exchange) error {
	children := d.cfg.Tree.Children(x.ctx, x.call, x.call.Path)
	x.encoder.Text(introspectNode(d.standard, x.object, children))
	return nil
}
