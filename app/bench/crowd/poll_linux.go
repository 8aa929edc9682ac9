package crowd

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// poll is an epoll instance and a timer in it. Sockets are watched for edges: what
// is ready is read until less comes than there is room for.
type poll struct {
	fd     int
	timer  int
	events []unix.EpollEvent
	buffer []byte // of whoever reads
}

// What is no page has a negative token.
const (
	timerToken = -1
	redisToken = -2
)

func newPoll() (*poll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	p := &poll{fd: fd, timer: -1, events: make([]unix.EpollEvent, 1024), buffer: make([]byte, 256<<10)}
	p.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err == nil {
		err = p.watch(p.timer, timerToken, unix.EPOLLIN)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *poll) close() {
	if p.timer >= 0 {
		_ = unix.Close(p.timer)
	}
	_ = unix.Close(p.fd)
}

// watch has fd's edges reported as token. A closed descriptor is forgotten by itself.
func (p *poll) watch(fd int, token int32, flags uint32) error {
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: flags | unix.EPOLLET, Fd: token})
}

// every wakes wait at that interval; 0: not any more.
func (p *poll) every(d time.Duration) error {
	t := unix.NsecToTimespec(d.Nanoseconds())
	return unix.TimerfdSettime(p.timer, 0, &unix.ItimerSpec{Interval: t, Value: t}, nil)
}

// nap sleeps, as wait does: raw.
func nap(d time.Duration) {
	t := unix.NsecToTimespec(d.Nanoseconds())
	_, _, _ = unix.RawSyscall6(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0, 0, 0, 0) //nolint:gosec // what nanosleep(2) reads
}

// wait calls ready for each descriptor that is, after most at the latest.
func (p *poll) wait(most time.Duration, ready func(token int32, flags uint32) error) error {
	// Raw: nothing else in this process has to run meanwhile, and the scheduler's watcher
	// would wake every 20 µs to look for it, on the core that Redis has to share.
	events := unsafe.Pointer(&p.events[0]) //nolint:gosec // what epoll_pwait(2) fills
	n, _, failure := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd),
		uintptr(events), uintptr(len(p.events)), uintptr(most.Milliseconds()), 0, 0) //nolint:gosec // never negative
	if failure == unix.EINTR {
		return nil
	}
	if failure != 0 {
		return failure
	}
	for _, e := range p.events[:n] {
		if e.Fd == timerToken {
			var ticks [8]byte
			_, _ = unix.Read(p.timer, ticks[:]) // how many is of no interest
		}
		if err := ready(e.Fd, e.Events); err != nil {
			return err
		}
	}
	return nil
}
