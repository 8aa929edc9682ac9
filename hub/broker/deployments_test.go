package broker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"aldaba/hub"
	"aldaba/internal/redistest"
)

// replication is what s says of it.
func replication(s *redistest.Server) string { return fmt.Sprint(s.Do("INFO", "replication")) }

// watched starts a master, its replica, and a sentinel; url is that of the sentinel.
func watched(t *testing.T) (master, replica *redistest.Server, url string) {
	t.Helper()
	master = redistest.Start(t)
	replica = redistest.Start(t, "--replicaof", "127.0.0.1 "+strconv.Itoa(master.Port))
	eventually(t, 10*time.Second, "replicates", func() bool { return strings.Contains(replication(replica), "master_link_status:up") })
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, `sentinel monitor mymaster 127.0.0.1 %d 1
sentinel down-after-milliseconds mymaster 500
sentinel failover-timeout mymaster 2000
`, master.Port), 0o600); err != nil {
		t.Fatal(err)
	}
	watch := redistest.Start(t, "--sentinel", conf)
	eventually(t, 10*time.Second, "sentinel knows the replica", func() bool {
		return strings.Contains(fmt.Sprint(watch.Do("SENTINEL", "REPLICAS", "mymaster")), "master-link-status ok")
	})
	return master, replica, "redis+sentinel://" + watch.Addr() + "?master_name=mymaster"
}

func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	master, replica, url := watched(t)
	r := run(t, Options{URL: url})
	r.join(t, "a")
	r.ready(t, 5*time.Second)
	master.Kill()
	eventually(t, 20*time.Second, "failed over", func() bool { return strings.Contains(replication(replica), "role:master") })
	r.delivers(t, replica, "a", 5*time.Second)
	r.ready(t, 5*time.Second)
	if r.calls.count("Resync a") != 1 {
		t.Errorf("resync of %q", r.calls.with("Resync "))
	}
	eventually(t, 5*time.Second, "publishes", func() bool {
		return r.publish(context.Background(), "a", []byte(`"after"`)) == nil
	})
	r.calls.await(t, `Deliver a "after"`)
}

// TestFailoverThatLosesEntries: replication is asynchronous, so one position can stand
// for two messages. Whoever knows the one that is gone is told so.
func TestFailoverThatLosesEntries(t *testing.T) {
	t.Parallel()
	master, replica, url := watched(t)
	r := run(t, keeping(t, url))
	r.join(t, "log:a")
	first := put(t, r.Broker, "log:a", "1", "").Position
	r.calls.await(t, "Deliver log:a 1")
	eventually(t, 5*time.Second, "replicated", func() bool { return fmt.Sprint(replica.Do("XLEN", "aldaba:log:{log:a}")) == "1" })
	replica.Signal(syscall.SIGSTOP)
	master.Do("CLIENT", "KILL", "TYPE", "replica")
	lost := put(t, r.Broker, "log:a", "2", "").Position
	r.calls.await(t, "Deliver log:a 2")
	master.Kill()
	replica.Signal(syscall.SIGCONT)
	eventually(t, 20*time.Second, "failed over", func() bool { return strings.Contains(replication(replica), "role:master") })
	eventually(t, 10*time.Second, "publishes", func() bool {
		return r.publish(context.Background(), "log:a", []byte("3")) == nil
	})
	r.calls.await(t, "Resync log:a")
	put(t, r.Broker, "log:a", "4", "")
	r.calls.await(t, "Deliver log:a 4")
	for _, old := range []hub.Position{first, lost} {
		if p, _ := page(t, r.Broker, hub.Query{Channel: "log:a", After: old, Entries: 9, Bytes: 99}); p.Known || p.Head.Epoch == old.Epoch {
			t.Errorf("%v is known to another server, whose head is %v", old, p.Head)
		}
	}
	if _, data := page(t, r.Broker, hub.Query{Channel: "log:a", Entries: 9, Bytes: 99}); !slices.Equal(data, []string{"1", "3", "4"}) {
		t.Errorf("the log has %q", data)
	}
}

func TestSentinelAbsent(t *testing.T) {
	r := run(t, Options{URL: "redis+sentinel://127.0.0.1:" + strconv.Itoa(redistest.FreePort(t)) + "?master_name=mymaster"})
	eventually(t, 5*time.Second, "logged", func() bool { return strings.Contains(r.log.String(), "redis is away: connection refused") })
	if err := r.Ready(); err == nil || !strings.Contains(err.Error(), "sentinel") {
		t.Error(err)
	}
}

// startCluster returns three masters.
func startCluster(t *testing.T) []*redistest.Server {
	t.Helper()
	var nodes []*redistest.Server
	var buses []string // the ports where they talk to each other
	for range 3 {
		bus := strconv.Itoa(redistest.FreePort(t))
		buses = append(buses, bus)
		nodes = append(nodes, redistest.Start(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "1000",
			"--cluster-require-full-coverage", "no", "--cluster-port", bus))
	}
	for i, n := range nodes {
		n.Do("CLUSTER", "ADDSLOTSRANGE", i*5461, min(i*5461+5460, 16383))
		if i == 2 {
			n.Do("CLUSTER", "ADDSLOTS", 16383)
		}
		nodes[0].Do("CLUSTER", "MEET", "127.0.0.1", n.Port, buses[i])
	}
	for _, n := range nodes {
		eventually(t, 15*time.Second, "cluster stands", func() bool {
			info := fmt.Sprint(n.Do("CLUSTER", "INFO"))
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3")
		})
	}
	return nodes
}

func TestCluster(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t)
	for _, n := range nodes {
		n.Do("ACL", "SETUSER", "aldaba", "on", ">pw", "resetchannels", "&app:*", "-@all",
			"+subscribe", "+unsubscribe", "+psubscribe", "+publish", "+ping", "+cluster|slots", "+command")
	}
	r := run(t, Options{
		URL:    "redis+cluster://aldaba:pw@" + nodes[0].Addr() + "?addr=" + nodes[1].Addr() + "&addr=" + nodes[2].Addr(),
		Prefix: "app:",
	})
	channels := []string{"a", "b", "c", "user:1", "user:2"} // of several slots
	r.join(t, channels...)
	r.ready(t, 5*time.Second)
	for i, n := range nodes {
		for _, channel := range channels {
			say(t, client(t, n.URL()), "app:"+channel, strconv.Itoa(i))
			r.calls.await(t, fmt.Sprintf("Deliver %s %d", channel, i))
		}
	}
	for i := range 12 {
		if err := r.publish(context.Background(), "a", fmt.Append(nil, "1", i)); err != nil {
			t.Error(err)
		}
		r.calls.await(t, fmt.Sprintf("Deliver a 1%d", i))
	}
	tails(t, r, []string{"b"})

	// The node with the subscription dies.
	var rest []*redistest.Server
	dead := 0
	for _, n := range nodes {
		if strings.Contains(fmt.Sprint(n.Do("PUBSUB", "CHANNELS", "app:user:1")), "user:1") {
			n.Kill()
			dead++
			continue
		}
		rest = append(rest, n)
	}
	if dead != 1 {
		t.Fatalf("%d nodes have the subscription", dead)
	}
	for _, channel := range channels {
		eventually(t, 10*time.Second, "resync", func() bool { return r.calls.count("Resync "+channel) == 1 })
	}
	backend := client(t, rest[0].URL())
	eventually(t, 5*time.Second, "delivers", func() bool {
		say(t, backend, "app:a", `"after"`)
		return r.calls.count(`Deliver a "after"`) > 0
	})
	r.ready(t, 5*time.Second)
	for i := range 9 { // one of three dials is refused, and another node tried
		if err := r.publish(context.Background(), "a", fmt.Append(nil, i)); err != nil {
			t.Error(err)
		}
	}
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	certificate, key := selfSigned(t, dir)
	port := strconv.Itoa(redistest.FreePort(t))
	s := redistest.Start(t, "--tls-port", port, "--tls-cert-file", certificate, "--tls-key-file", key,
		"--tls-ca-cert-file", certificate, "--tls-auth-clients", "no")
	r := run(t, Options{URL: "rediss://127.0.0.1:" + port + "?skip_verify=true"})
	r.join(t, "a")
	r.ready(t, 5*time.Second)
	r.delivers(t, s, "a", 5*time.Second)

	strict := run(t, Options{URL: "rediss://127.0.0.1:" + port})
	eventually(t, 5*time.Second, "refused", func() bool { return strings.Contains(strict.log.String(), "certificate") })
	if strict.Ready() == nil {
		t.Error("an unknown certificate is believed")
	}
}

func selfSigned(t *testing.T, dir string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", pkcs8)
}

// TestClusterKeepsHistories: the keys of a channel are on one node, whichever that is.
func TestClusterKeepsHistories(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t)
	o := keeping(t, "redis+cluster://"+nodes[0].Addr()+"?addr="+nodes[1].Addr()+"&addr="+nodes[2].Addr())
	r := run(t, o)
	channels := []string{"log:a", "log:b", "log:c", "log:d"} // of several slots
	r.join(t, channels...)
	for _, channel := range channels {
		first := put(t, r.Broker, channel, "1", "").Position
		put(t, r.Broker, channel, "2", "")
		r.calls.await(t, "Deliver "+channel+" 1")
		r.calls.await(t, "Deliver "+channel+" 2")
		if got, data := page(t, r.Broker, hub.Query{Channel: channel, After: first, Entries: 9, Bytes: 99}); !got.Known || len(data) != 1 || data[0] != "2" {
			t.Errorf("%s: known %v, %q", channel, got.Known, data)
		}
		// A plain PUBLISH is heard by nobody there; what is published after it comes next.
		say(t, client(t, nodes[0].URL()), channel, `"plain"`)
		put(t, r.Broker, channel, "3", "")
		r.calls.await(t, "Deliver "+channel+" 3")
		if r.calls.count("Deliver "+channel+` "plain"`) > 0 {
			t.Errorf("%s: a plain publish was delivered", channel)
		}
	}
}
