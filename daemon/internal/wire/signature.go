package wire

// maxSignature bounds how deep types are nested, too. The bus allows 32 arrays
// and 32 structs inside one another; we need not be that strict.
const maxSignature = 255

// validSignature reports whether sig is a list of complete types.
func validSignature(sig string) bool {
	if len(sig) > maxSignature {
		return false
	}
	for i := 0; i < len(sig); {
		end := typeEnd(sig, i)
		if end < 0 {
			return false
		}
		i = end
	}
	return true
}

// validSingle reports whether sig is exactly one complete type.
func validSingle(sig string) bool {
	return sig != "" && len(sig) <= maxSignature && typeEnd(sig, 0) == len(sig)
}

// typeEnd returns the index behind the complete type that begins at sig[i],
// or -1 if there is none.
func typeEnd(sig string, i int) int {
	if i >= len(sig) {
		return -1
	}
	switch sig[i] {
	case 'a':
		if i+1 < len(sig) && sig[i+1] == '{' {
			return dictEnd(sig, i+2)
		}
		return typeEnd(sig, i+1)
	case '(':
		return structEnd(sig, i+1)
	case 'v':
		return i + 1
	}
	if isBasic(sig[i]) {
		return i + 1
	}
	return -1
}

func structEnd(sig string, i int) int {
	if i < len(sig) && sig[i] == ')' {
		return -1 // an empty struct
	}
	for i < len(sig) && sig[i] != ')' {
		if i = typeEnd(sig, i); i < 0 {
			return -1
		}
	}
	if i >= len(sig) {
		return -1
	}
	return i + 1
}

func dictEnd(sig string, i int) int {
	if i >= len(sig) || !isBasic(sig[i]) {
		return -1
	}
	i = typeEnd(sig, i+1)
	if i < 0 || i >= len(sig) || sig[i] != '}' {
		return -1
	}
	return i + 1
}

// isBasic reports whether c stands for a type that can be a dictionary's key.
func isBasic(c byte) bool {
	switch c {
	case 'y', 'b', 'n', 'q', 'i', 'u', 'x', 't', 'd', 's', 'o', 'g', 'h':
		return true
	}
	return false
}

// alignOf returns the alignment of a type that begins with c.
func alignOf(c byte) int {
	switch c {
	case 'y', 'g', 'v':
		return 1
	case 'n', 'q':
		return 2
	case 'x', 't', 'd', '(', '{':
		return 8
	}
	return 4
}
