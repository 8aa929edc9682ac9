package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// deafen has Redis end the one connection on which r hears plain PUBLISHes: of all
// connections of its process the one that is subscribed to patterns. The standby has
// such a connection, too, and Redis cannot tell whose is whose; the kernel can.
func (c *chaos) deafen(r *replica) {
	c.t.Helper()
	ports := r.ports()
	var ids []string
	for line := range strings.Lines(fmt.Sprint(c.server.Do("CLIENT", "LIST", "TYPE", "pubsub"))) {
		f := map[string]string{}
		for field := range strings.FieldsSeq(line) {
			key, value, _ := strings.Cut(field, "=")
			f[key] = value
		}
		_, port, _ := strings.Cut(f["addr"], ":") // of 127.0.0.1
		if f["psub"] != "0" && ports[port] {
			ids = append(ids, f["id"])
		}
	}
	if len(ids) != 1 {
		c.t.Fatalf("the recorder hears plain publishes on connections %v", ids)
	}
	c.server.Do("CLIENT", "KILL", "ID", ids[0])
}

// ports are the local ports of the process's connections by IPv4.
func (r *replica) ports() map[string]bool {
	r.t.Helper()
	process := fmt.Sprintf("/proc/%d", r.cmd.Process.Pid)
	files, err := filepath.Glob(process + "/fd/*")
	if err != nil {
		r.t.Fatal(err)
	}
	own := map[string]bool{}
	for _, file := range files {
		if target, err := os.Readlink(file); err == nil { // else it is closed by now
			own[target] = true
		}
	}
	table, err := os.ReadFile(process + "/net/tcp")
	if err != nil {
		r.t.Fatal(err)
	}
	all := map[string]bool{}
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line) // 1 is ADDRESS:PORT in hexadecimal digits, 9 the inode
		if len(fields) < 10 || !own["socket:["+fields[9]+"]"] {
			continue
		}
		_, port, _ := strings.Cut(fields[1], ":")
		n, err := strconv.ParseUint(port, 16, 16)
		if err != nil {
			r.t.Fatal(err)
		}
		all[strconv.FormatUint(n, 10)] = true
	}
	return all
}
