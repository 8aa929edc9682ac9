package auth

import (
	"errors"
	"fmt"
)

// Fault is one thing wrong with a configuration.
type Fault struct {
	// Path is where, relative to what was passed: "[0].secret" for the first
	// issuer's secret, "[2].name" for the third pattern's name. It is empty when
	// the fault is in the list as a whole.
	Path string
	// Reason says what is wrong and how to mend it, in lower case.
	Reason string
}

func (f *Fault) Error() string {
	if f.Path == "" {
		return f.Reason
	}
	return f.Path + ": " + f.Reason
}

// faults gathers what is wrong, so that all of it is reported at once.
type faults struct {
	list []error
}

func (f *faults) add(path, format string, args ...any) {
	f.list = append(f.list, &Fault{Path: path, Reason: fmt.Sprintf(format, args...)})
}

// err returns nil, or an error that joins every *Fault.
func (f *faults) err() error { return errors.Join(f.list...) }
