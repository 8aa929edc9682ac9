package crowd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// page is one user's connection.
type page struct {
	fd       int
	state    pageState
	awaits   int    // messages it has to hear yet to count as connected
	rest     []byte // read, and not yet a whole frame
	position []byte // in its log; nil: none yet
	offset   int64  // of position

	published int64    // messages to it alone in this load
	places    [2]int64 // number heard last in this load, private and room; or unknown
}

type pageState uint8

const (
	pageClosed pageState = iota
	pageDialing
	pageShaking   // the request is out
	pageGreeting  // the upgrade is there, the welcome is not
	pageListening // welcomed; awaits some messages
	pageOpen
)

func (c *crowd) user(i int) string { return Prefix + strconv.Itoa(c.order.First+i) }

// small is the room that user i shares with RoomSize-1 others.
func (c *crowd) small(i int) string { return Prefix + "r" + strconv.Itoa((c.order.First+i)/RoomSize) }

// log is the recorded channel of user i.
func (c *crowd) log(i int) string { return strings.Replace(c.order.Log, "{sub}", c.user(i), 1) }

// recordedBy is what only messages of log's channels have.
func recordedBy(log string) []byte {
	before, _, _ := strings.Cut(log, "{sub}")
	return []byte(`"channel":"` + before + Prefix)
}

// request is the handshake of page i.
func (c *crowd) request(i int) ([]byte, error) {
	user := c.user(i)
	rooms := c.order.Rooms
	if c.order.Small {
		rooms = append(slices.Clip(rooms), c.small(i))
	}
	claims := map[string]any{}
	if len(rooms) > 0 {
		claims["rooms"] = rooms
	}
	if c.order.Log != "" {
		claims["logs"] = []string{user}
	}
	token, err := c.sign(&c.order, user, claims)
	if err != nil {
		return nil, err
	}
	host, path, err := split(c.order.URL)
	if err != nil {
		return nil, err
	}
	if c.order.Resume {
		path += "?resume"
	}
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: aldaba.v1\r\nAuthorization: Bearer %s\r\n\r\n", path, host, token), nil
}

// dial begins page i's connection. Its request waits in rest until it is there.
func (c *crowd) dial(i int, request []byte) error {
	p := &c.pages[i]
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket of page %d: %w", i, err)
	}
	p.fd, p.state, p.rest, p.awaits = fd, pageDialing, request, c.order.Await
	c.pending++
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if c.order.Loopback {
		// One address has not enough ports, and is held to the hub's limit per address.
		_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		n := (c.order.First + i) / pagesPerAddress
		//nolint:gosec // a million users have eleven hundred addresses
		source := unix.SockaddrInet4{Addr: [4]byte{127, 0, byte(1 + n/250), byte(1 + n%250)}}
		if err := unix.Bind(fd, &source); err != nil {
			return err
		}
	}
	if err := unix.Connect(fd, &c.remote); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return fmt.Errorf("connect: %w", err)
	}
	return c.poll.watch(fd, int32(i), unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP) //nolint:gosec // a page's index
}

// pagesPerAddress is less than what a hub lets in from one address by default.
const pagesPerAddress = 900

// drop closes page i without a word.
func (c *crowd) drop(i int) {
	p := &c.pages[i]
	if p.state == pageClosed {
		return
	}
	if p.state == pageOpen {
		c.open--
	} else {
		c.pending--
	}
	_ = unix.Close(p.fd)
	p.state, p.rest = pageClosed, nil
}

// ready is told that page i's socket has something to say.
func (c *crowd) ready(i int, flags uint32) {
	p := &c.pages[i]
	if p.state == pageDialing && flags&unix.EPOLLOUT != 0 {
		request := p.rest
		p.rest, p.state = nil, pageShaking
		if _, err := unix.Write(p.fd, request); err != nil {
			c.ended(i, "connect: "+err.Error())
			return
		}
	}
	if flags&(unix.EPOLLIN|unix.EPOLLHUP|unix.EPOLLRDHUP|unix.EPOLLERR) == 0 {
		return
	}
	for p.state > pageDialing {
		n, err := unix.Read(p.fd, c.poll.buffer)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return
		case err != nil:
			c.ended(i, err.Error())
			return
		case n == 0:
			c.ended(i, "end of stream")
			return
		}
		c.read(i, c.poll.buffer[:n])
		if n < len(c.poll.buffer) && flags&(unix.EPOLLRDHUP|unix.EPOLLHUP) == 0 {
			return
		}
	}
}

func (c *crowd) ended(i int, why string) {
	if c.pages[i].state != pageClosed {
		c.fault("%s", why)
		c.drop(i)
	}
}

// read takes b, which page i has just read.
func (c *crowd) read(i int, b []byte) {
	p := &c.pages[i]
	if len(p.rest) > 0 {
		b = append(p.rest, b...)
		p.rest = nil
	}
	if p.state == pageShaking {
		head, rest, whole := bytes.Cut(b, []byte("\r\n\r\n"))
		if !whole {
			p.rest = bytes.Clone(b)
			return
		}
		if !c.upgraded(i, head, rest) {
			return
		}
		b = rest
	}
	for p.state > pageShaking {
		opcode, payload, rest, whole := cutFrame(b)
		if !whole {
			if len(b) > 0 {
				p.rest = bytes.Clone(b)
			}
			return
		}
		b = rest
		c.frame(i, opcode, payload)
	}
}

// upgraded looks at the hub's answer to the handshake, and says from where to resume.
func (c *crowd) upgraded(i int, head, body []byte) bool {
	p := &c.pages[i]
	line, _, _ := bytes.Cut(head, []byte("\r\n"))
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 101")) {
		c.fault("%s %s", line, bytes.TrimSpace(body))
		c.drop(i)
		return false
	}
	p.state = pageGreeting
	if !c.order.Resume {
		return true
	}
	positions := ""
	if p.position != nil {
		positions = `"` + c.log(i) + `":"` + string(p.position) + `"`
	}
	if _, err := unix.Write(p.fd, clientFrame(opText, []byte(`{"type":"resume","positions":{`+positions+`}}`))); err != nil {
		c.ended(i, err.Error())
		return false
	}
	return true
}

var typeMessage = []byte(`{"type":"message"`)

// frame is what page i has heard.
func (c *crowd) frame(i int, opcode byte, payload []byte) {
	p := &c.pages[i]
	switch opcode {
	case opText:
		if bytes.HasPrefix(payload, typeMessage) {
			c.message(i, payload)
			return
		}
		switch kind := string(text(payload, `"type":"`)); kind {
		case "welcome":
			c.welcomed(i, payload)
		case "joined", "expiring", "read":
		default:
			c.fault("%s", kind)
		}
	case opPing:
		if _, err := unix.Write(p.fd, clientFrame(opPong, payload)); err != nil {
			c.ended(i, err.Error())
		}
	case opClose:
		why := "closed without a code"
		if len(payload) >= 2 {
			why = fmt.Sprintf("closed with %d", binary.BigEndian.Uint16(payload))
		}
		c.ended(i, why)
	}
}

func (c *crowd) welcomed(i int, payload []byte) {
	p := &c.pages[i]
	if c.order.Log != "" && c.order.Resume {
		_, joined, _ := bytes.Cut(payload, []byte(`"channel":"`+c.log(i)+`"`))
		joined, _, _ = bytes.Cut(joined, []byte("}"))
		if p.position != nil && !bytes.Contains(joined, []byte(`"recovered":true`)) {
			c.fault("not recovered")
		}
		if at := text(joined, `"position":"`); at != nil && p.position == nil {
			p.stand(at)
		}
	}
	p.state = pageListening
	c.progress = time.Now()
	c.count(p)
}

// stand notes the position that the hub said last.
func (p *page) stand(at []byte) {
	p.position = append(p.position[:0], at...)
	p.offset, _ = number(at, ":")
}

// count counts a page that has heard what it has to as open.
func (c *crowd) count(p *page) {
	if p.state == pageListening && p.awaits <= 0 {
		p.state = pageOpen
		c.open++
		c.pending--
	}
}

func (c *crowd) message(i int, payload []byte) {
	p := &c.pages[i]
	c.progress = time.Now()
	if p.position != nil {
		if at := text(payload, `"position":"`); at != nil && bytes.Contains(payload, c.recorded) {
			before := p.offset
			p.stand(at)
			if p.offset != before+1 {
				c.fault("a message %d places after the one before it", p.offset-before)
			}
		}
	}
	if p.state == pageListening {
		p.awaits--
		c.count(p)
	}
	if c.load == nil {
		return
	}
	s, ok := readStamp(payload)
	if !ok {
		c.fault("a message of somebody else")
		return
	}
	c.load.heard(p, s, c.progress)
}
