package crowd

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
)

// pipe publishes to Redis: commands go out by many, their answers are only counted
// (the Redis serialization protocol, version 2).
type pipe struct {
	fd       int
	out      []byte // not yet written
	in       []byte // not yet whole
	commands []byte // scratch
	sent     int    // commands
	heard    int    // answers
}

// appendCommand appends the command that args are.
func appendCommand(b []byte, args ...[]byte) []byte {
	b = append(strconv.AppendInt(append(b, '*'), int64(len(args)), 10), '\r', '\n')
	for _, a := range args {
		b = append(strconv.AppendInt(append(b, '$'), int64(len(a)), 10), '\r', '\n')
		b = append(append(b, a...), '\r', '\n')
	}
	return b
}

// answers counts the whole answers in p.in, none of which is an array, and keeps the
// rest. It returns the first error among them.
func (p *pipe) answers() error {
	b := p.in
	for {
		line, rest, ok := bytes.Cut(b, []byte("\r\n"))
		if !ok || len(line) == 0 {
			break
		}
		switch line[0] {
		case '-':
			return fmt.Errorf("redis: %s", line[1:])
		case '*':
			return errors.New("redis: an array is no answer to what was sent")
		case '$':
			n, err := strconv.Atoi(string(line[1:]))
			if err != nil {
				return fmt.Errorf("redis: %q", line)
			}
			if n >= 0 {
				if len(rest) < n+2 {
					p.keep(b)
					return nil
				}
				rest = rest[n+2:]
			}
		}
		p.heard++
		b = rest
	}
	p.keep(b)
	return nil
}

func (p *pipe) keep(b []byte) { p.in = append(p.in[:0], b...) }

// enter says who publishes, and chooses the database, over a connection that may be
// waited for.
func (r Redis) enter(c net.Conn) error {
	var err error
	switch {
	case r.User != "":
		err = ask(c, "AUTH", r.User, r.Password)
	case r.Password != "":
		err = ask(c, "AUTH", r.Password)
	}
	if err == nil && r.Database != 0 {
		err = ask(c, "SELECT", strconv.Itoa(r.Database))
	}
	return err
}

// ask sends a command whose answer is a line, and returns the error that it says.
func ask(c net.Conn, command ...string) error {
	args := make([][]byte, len(command))
	for i, a := range command {
		args[i] = []byte(a)
	}
	if _, err := c.Write(appendCommand(nil, args...)); err != nil {
		return err
	}
	b := make([]byte, 256)
	n, err := c.Read(b)
	if err == nil && b[0] != '+' {
		err = fmt.Errorf("redis: %s", bytes.TrimSpace(b[:n]))
	}
	return err
}
