package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"aldaba/auth"
	"aldaba/hub"
	"aldaba/internal/redistest"

	"github.com/prometheus/client_golang/prometheus"
)

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

// What is sent to Redis by anybody never ends the loop, and never reaches a log.
func TestBadMessagesAreDropped(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		registry := prometheus.NewRegistry()
		r := run(t, Options{URL: url, Message: 64 << 10, Metrics: registry})
		r.join(t, "a")
		backend := client(t, url)
		for _, bad := range []struct{ data, reason string }{
			{"", reasonJSON},
			{"hunter2", reasonJSON},
			{`{"hunter2":`, reasonJSON},
			{"{}{}", reasonJSON},
			{"\xef\xbb\xbf{}", reasonJSON}, // a byte order mark
			{nested(maxDepth + 1), reasonDepth},
			{nested(10_000), reasonDepth},
			{nested(10_001), reasonJSON},
			{strings.Repeat("[", 60_000), reasonJSON},
			{"\"hunter2\xff\"", reasonUTF8},
			{"\"\xed\xa0\x80\"", reasonUTF8}, // a surrogate
			{`"` + strings.Repeat("hunter2 ", 8<<10) + `"`, reasonSize},
		} {
			before := metric(t, registry, "aldaba_messages_dropped_total", bad.reason)
			say(t, backend, "a", bad.data)
			eventually(t, 5*time.Second, "dropped", func() bool {
				return metric(t, registry, "aldaba_messages_dropped_total", bad.reason) == before+1
			})
		}
		say(t, backend, "a", nested(maxDepth))
		r.calls.await(t, "Deliver a "+nested(maxDepth))
		if n := len(r.calls.with("Deliver ")); n != 1 {
			t.Errorf("%d messages delivered", n)
		}
		log := r.log.String()
		for _, want := range []string{reasonJSON, reasonUTF8, reasonSize, "channel=a"} {
			if !strings.Contains(log, want) {
				t.Errorf("the log does not say %s", want)
			}
		}
		if strings.Contains(log, "hunter2") {
			t.Error("the log repeats data")
		}
		if n := strings.Count(log, reasonJSON); n != 1 {
			t.Errorf("%d lines for one reason: a flood of messages floods the log", n)
		}
	})
}

func TestSixtyFourMegabytes(t *testing.T) {
	huge := `"` + strings.Repeat("x", 64<<20) + `"`
	t.Run("received", func(t *testing.T) {
		s := redistest.Start(t, "--client-output-buffer-limit", "pubsub", "0", "0", "0")
		registry := prometheus.NewRegistry()
		r := run(t, Options{URL: s.URL(), Metrics: registry})
		r.join(t, "a")
		say(t, client(t, s.URL()), "a", huge)
		r.delivers(t, s, "a", 10*time.Second)
		if n := metric(t, registry, "aldaba_messages_dropped_total", reasonSize); n != 1 || len(r.calls.with("Resync ")) != 0 {
			t.Errorf("dropped %v, resync of %q", n, r.calls.with("Resync "))
		}
	})
	t.Run("cut by redis", func(t *testing.T) {
		s := redistest.Start(t)
		r := run(t, Options{URL: s.URL()})
		r.join(t, "a", "b")
		say(t, client(t, s.URL()), "a", huge)
		r.delivers(t, s, "a", 10*time.Second)
		if r.calls.count("Resync a") != 1 || r.calls.count("Resync b") != 1 {
			t.Errorf("resync of %q", r.calls.with("Resync "))
		}
	})
	t.Run("embedded", func(t *testing.T) {
		e, err := StartEmbedded("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = e.Close() }()
		r := run(t, Options{URL: e.URL()})
		r.join(t, "a")
		backend := client(t, e.URL())
		say(t, backend, "a", huge)
		say(t, backend, "a", "1")
		r.calls.await(t, "Deliver a 1")
	})
}

func TestPanicOfTheReceiver(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		registry := prometheus.NewRegistry()
		r := run(t, Options{URL: url, Metrics: registry})
		r.calls.hook = func(event string) {
			// The broker holds none of its locks during a call: this would hang.
			r.Subscribe("c")
			r.Unsubscribe("e")
			_ = r.Ready()
			if strings.Contains(event, "hunter2") || event == "Subscribed b" {
				panic(event)
			}
			if strings.Contains(event, "index") {
				_ = []int{}[len(event)]
			}
		}
		r.join(t, "a", "b")
		backend := client(t, url)
		say(t, backend, "a", `"hunter2"`)
		say(t, backend, "a", `"index"`)
		say(t, backend, "b", "1")
		r.calls.await(t, "Deliver b 1")
		if n := metric(t, registry, "aldaba_messages_dropped_total", reasonPanic); n != 2 {
			t.Errorf("%v messages counted", n)
		}
		if n := metric(t, registry, "aldaba_receiver_panics_total", ""); n != 3 {
			t.Errorf("%v panics counted", n)
		}
		if log := r.log.String(); strings.Contains(log, "hunter2") || !strings.Contains(log, "index out of range") {
			t.Error("the log repeats data, or says too little")
		}
		if log := r.log.String(); strings.Count(log, "(*calls).Deliver") != 2 || strings.Count(log, "(*calls).Subscribed") != 1 {
			t.Errorf("the log does not say where: %s", log)
		}
		r.join(t, "c", "d")
		r.Unsubscribe("b")
		r.ready(t, 5*time.Second)
		say(t, backend, "d", "2")
		r.calls.await(t, "Deliver d 2")
	})
}

func FuzzUnfit(f *testing.F) {
	for _, data := range []string{"", "{}", "[1,2]", "\"\xff\"", `"\ud800"`, nested(maxDepth), nested(maxDepth + 1), `"` + nested(200) + `\\"["`, "nul", "1e999", " \n1\t"} {
		f.Add("user:1", []byte(data))
	}
	f.Add("aldaba:x", []byte("1"))
	f.Fuzz(func(t *testing.T, channel string, data []byte) {
		const limit = 1 << 10
		if reason := unfit(channel, data, limit); reason != "" {
			if refusalOf(reason, len(data), limit).Error() == hub.ErrInvalidMessage.Error()+": " {
				t.Errorf("no words for %q", reason)
			}
			return
		}
		if depth := depthOf(t, data); depth > maxDepth {
			t.Errorf("%q is delivered, %d deep", data, depth)
		}
		if !auth.ValidChannel(channel) || len(data) > limit || !utf8.Valid(data) || !json.Valid(data) {
			t.Errorf("%q on %q is delivered", data, channel)
		}
		// It must go into a frame unchanged, and the frame be JSON.
		if frame := `{"data":` + string(data) + `}`; !json.Valid([]byte(frame)) {
			t.Errorf("%q spoils a frame", data)
		}
	})
}

// depthOf decodes data, token by token.
func depthOf(t *testing.T, data []byte) (deepest int) {
	t.Helper()
	decoder, depth := json.NewDecoder(bytes.NewReader(data)), 0
	decoder.UseNumber()
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return deepest
		}
		if err != nil {
			t.Fatalf("%q: %v", data, err)
		}
		switch token {
		case json.Delim('['), json.Delim('{'):
			depth++
		case json.Delim(']'), json.Delim('}'):
			depth--
		}
		deepest = max(deepest, depth)
	}
}

func TestPublishedUnchanged(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		r := run(t, Options{URL: url})
		r.join(t, "a")
		const data = "{ \"a\" :\t1.0,\r\n\"a\":\"\\u0041\u2028\"}"
		if err := r.publish(context.Background(), "a", []byte(data)); err != nil {
			t.Fatal(err)
		}
		r.calls.await(t, "Deliver a "+data)
	})
}
