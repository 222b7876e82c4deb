package vtable

// get is Properties.Get.
func get(x *exchange) error {
	p, of, err := x.property()
	if err != nil {
		return err
	}
	if err := x.decoder.Close(); err != nil {
		return badArguments(err)
	}
	return p.read(x, of)
}

// set is Properties.Set.
func set(x *exchange) error {
	p, of, err := x.property()
	if err != nil {
		return err
	}
	if !p.set.IsValid() {
		return errReadOnly(p.name)
	}
	return p.write(x, of.target)
}

// property reads the interface and the name of a property, and finds it.
func (x *exchange) property() (*property, bound, error) {
	iface, name := x.decoder.Text(), x.decoder.Text()
	if err := x.decoder.Err(); err != nil {
		return nil, bound{}, badArguments(err)
	}
	for _, b := range x.object {
		if b.face.name != iface {
			continue
		}
		if p := b.face.propByName[name]; p != nil {
			return p, b, nil
		}
	}
	return nil, bound{}, errUnknownProperty(iface, name)
}

// getAll is Properties.GetAll. No interface name means all of them: clients
// of machined count on it.
func (d *dispatcher) getAll(x *exchange) error {
	iface := x.decoder.Text()
	if err := x.decoder.Close(); err != nil {
		return badArguments(err)
	}
	if iface != "" && !x.object.has(iface) && !d.isStandard(iface) {
		return errUnknownInterface(iface)
	}
	a := x.encoder.Array('{')
	for _, b := range x.object {
		if iface != "" && iface != b.face.name {
			continue
		}
		for _, p := range b.face.properties {
			if p.hidden {
				continue
			}
			if err := p.readEntry(x, b); err != nil {
				return err
			}
		}
	}
	x.encoder.EndArray(a)
	return nil
}
