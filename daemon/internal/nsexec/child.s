// Without this file the compiler refuses functions that have no body.
