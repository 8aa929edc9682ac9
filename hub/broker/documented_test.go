package broker

import (
	"os"
	"strings"
	"testing"
	"time"

	"aldaba/auth"
	"aldaba/hub"
	"aldaba/internal/redistest"
)

// documented returns the arguments of the ACL SETUSER for user in a page.
func documented(t *testing.T, page, user string) []any {
	t.Helper()
	text, err := os.ReadFile("../../" + page)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 4 || strings.Join(fields[:3], " ") != "ACL SETUSER "+user {
			continue
		}
		args := make([]any, len(fields))
		for i, field := range fields {
			args[i] = field
		}
		return args
	}
	t.Fatalf("%s says nothing of %s", page, user)
	return nil
}

// TestUserOfThePagesSuffices makes the users that README and the operator's page show,
// as they stand there, and does all with them.
func TestUserOfThePagesSuffices(t *testing.T) {
	policy, err := auth.NewPolicy([]auth.Pattern{
		{Name: "user:{sub}", History: &auth.History{Size: 5, TTL: time.Hour}},
		{Name: "user:{sub}:typing"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range []string{"README.md", "docs/operations.md"} {
		t.Run(page, func(t *testing.T) {
			s := redistest.Start(t)
			s.Do(documented(t, page, "aldaba")...)
			o := Options{URL: "redis://aldaba:PASSWORD@" + s.Addr(), Histories: policy.Histories()}
			one := run(t, o)
			one.awaitRole(t, roleRecorder)
			two := run(t, o)
			two.awaitRole(t, roleStandby)
			one.ready(t, 10*time.Second)
			suffices(t, s, one, two)
			for _, entry := range s.Do("ACL", "LOG").([]any) {
				t.Errorf("refused: %v", entry)
			}
		})
	}
}

// suffices does with two replicas whatever they do in Redis.
func suffices(t *testing.T, s *redistest.Server, one, two *rig) {
	t.Helper()
	backend := client(t, s.URL())
	two.join(t, "user:anna", "user:anna:typing")
	p := put(t, one.Broker, "user:anna", "1", "k").Position
	put(t, one.Broker, "user:anna:typing", "1", "k")
	say(t, backend, "user:anna", "2")
	two.calls.await(t, "Deliver user:anna 2")
	one.HandOver(t.Context())
	two.awaitRole(t, roleRecorder)
	say(t, backend, "user:anna", "3")
	say(t, backend, "user:anna:typing", "4")
	two.calls.await(t, "Deliver user:anna 3")
	two.calls.await(t, "Deliver user:anna:typing 4")
	if _, err := two.Ack(t.Context(), "user:anna", "anna", p); err != nil {
		t.Error(err)
	}
	if got, _ := page(t, one.Broker, hub.Query{Channel: "user:anna", After: p, Entries: 5, Bytes: 99}); !got.Known || len(got.Entries) != 2 {
		t.Errorf("%+v", got)
	}
	if err := one.KeepTicket(t.Context(), "id", []byte("sealed"), time.Minute); err != nil {
		t.Error(err)
	}
	if _, err := two.TakeTicket(t.Context(), "id"); err != nil {
		t.Error(err)
	}
	listening(t, s.URL(), "", 2)
	if got, _ := receipt(t, one.Broker, "user:anna", "5", ""); !got.Complete {
		t.Errorf("%+v", got)
	}
	awaitLibrary(t, backend, "")
	two.Unsubscribe("user:anna:typing")
}

// TestMissingRightsOfARecorderAreTold has a user that lacks one pattern, until it is mended.
func TestMissingRightsOfARecorderAreTold(t *testing.T) {
	s := redistest.Start(t)
	r := run(t, keeping(t, allow(s, strings.Replace(strings.Replace(rules("log:"), "~aldaba:*:{log:*", "~aldaba:*", 1), "&aldaba:live:{log:* &aldaba:*:{log:*", "&aldaba:*", 1))))
	eventually(t, 10*time.Second, "told", func() bool { return strings.Contains(r.log.String(), "does not let this user record") })
	s.Do("ACL", "SETUSER", "aldaba", "&aldaba:live:{log:*")
	r.awaitRole(t, roleRecorder)
	if n := strings.Count(r.log.String(), "does not let this user record"); n != 1 {
		t.Errorf("told %d times", n)
	}
}

// TestBackendsOfTheOperatorsPage publish what they may, and nothing else.
func TestBackendsOfTheOperatorsPage(t *testing.T) {
	s := redistest.Start(t)
	r := run(t, keeping(t, s.URL()))
	r.ready(t, 10*time.Second)
	admin := client(t, s.URL())
	awaitLibrary(t, admin, "")
	for _, user := range []string{"invoices", "orders"} {
		s.Do(documented(t, "docs/operations.md", user)...)
		backend := client(t, "redis://"+user+":PASSWORD@"+s.Addr())
		say(t, backend, "user:42", "1")
		if err := backend.Publish(t.Context(), "room:7", "1").Err(); err == nil {
			t.Errorf("%s speaks to rooms", user)
		}
		_, err := fcall(backend, "aldaba_publish", 1, "user:42", "1", "key", "k")
		if want := user == "orders"; (err == nil) != want {
			t.Errorf("%s calls the function: %v", user, err)
		}
	}
	if _, err := fcall(client(t, "redis://orders:PASSWORD@"+s.Addr()), "aldaba_publish", 1, "room:7", "1", "key", "k"); err == nil {
		t.Error("orders speaks to rooms through the function")
	}
}
