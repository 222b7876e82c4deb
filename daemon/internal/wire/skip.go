package wire

// maxSkipDepth is beyond what a bus lets through, so that no peer can send us
// a header that the bus takes for valid and we do not.
const maxSkipDepth = 255

// skipSingle skips the one value of type sig.
func (d *Decoder) skipSingle(sig string) {
	if !validSingle(sig) {
		d.malformed("a variant is not of one complete type")
		return
	}
	d.skipType(sig, 0)
}

// skipType skips the value whose type begins at sig[i] and returns where the
// type ends. Arrays are skipped by their length.
func (d *Decoder) skipType(sig string, i int) int {
	if d.depth++; d.depth > maxSkipDepth {
		d.malformed("containers are nested too deep")
	}
	defer d.leave()
	if d.err != nil {
		return len(sig)
	}
	switch c := sig[i]; c {
	case 'a':
		end := d.array(alignOf(sig[i+1]))
		d.take(1, end-d.pos)
		return typeEnd(sig, i)
	case '(':
		d.take(8, 0)
		for i++; d.err == nil && sig[i] != ')'; {
			i = d.skipType(sig, i)
		}
	case 'v':
		d.skipSingle(string(d.variantSignature()))
	case 's', 'o':
		d.take(1, int(d.Uint32())+1)
	case 'g':
		d.take(1, int(d.Byte())+1)
	default:
		d.take(alignOf(c), sizeOf(c))
	}
	return i + 1
}

// sizeOf returns the size of a type that has a fixed one.
func sizeOf(c byte) int {
	if c == 'y' {
		return 1
	}
	return alignOf(c)
}
