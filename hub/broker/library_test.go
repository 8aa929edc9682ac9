package broker

import (
	"context"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"aldaba/auth"
	"aldaba/hub"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
)

// fcall calls a function as any publisher does.
func fcall(c *redis.Client, args ...any) (any, error) {
	return c.Do(context.Background(), append([]any{"FCALL"}, args...)...).Result()
}

func awaitLibrary(t testing.TB, c *redis.Client, prefix string) {
	t.Helper()
	eventually(t, 10*time.Second, "the library knows "+prefix, func() bool {
		found, err := c.FunctionList(context.Background(), redis.FunctionListQuery{LibraryNamePattern: "aldaba", WithCode: true}).Result()
		return err == nil && len(found) == 1 && strings.Contains(found[0].Code, `{"prefix":"`+prefix+`"`)
	})
}

func TestPublishersCallTheFunction(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		r := run(t, keeping(t, url))
		r.join(t, "log:a", "log:b", "plain:a")
		backend := client(t, url)
		awaitLibrary(t, backend, "")
		first, err := fcall(backend, "aldaba_publish", 1, "log:a", "1")
		if err != nil {
			t.Fatal(err)
		}
		at, err := hub.ParsePosition(first.(string))
		if err != nil || at.Offset != 1 {
			t.Errorf("the position is %v", first)
		}
		for range 2 {
			if _, err := fcall(backend, "aldaba_publish", 1, "log:a", "2", "key", "k"); err != nil {
				t.Fatal(err)
			}
		}
		if answer, err := fcall(backend, "aldaba_publish", 1, "plain:a", "3"); err != nil || answer != "" {
			t.Errorf("without history: %v, %v", answer, err)
		}
		if answer, err := fcall(backend, "aldaba_publish_many", 2, "log:a", "log:b", "4", "5"); err != nil || len(answer.([]any)) != 2 {
			t.Errorf("many: %v, %v", answer, err)
		}
		for _, event := range []string{"log:a 4", "log:b 5", "plain:a 3"} {
			r.calls.await(t, "Deliver "+event)
		}
		if diff := cmp.Diff([]string{"1", "2", "4"}, r.calls.with("Deliver log:a ")); diff != "" {
			t.Error(diff)
		}
	})
}

func TestTheFunctionRefuses(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		o := keeping(t, url)
		o.Message = 100
		r := run(t, o)
		r.join(t, "log:a", "plain:a")
		backend := client(t, url)
		awaitLibrary(t, backend, "")
		for _, c := range []struct {
			args []any
			want string
		}{
			{[]any{"aldaba_publish", 1, "log:a", "not json"}, "one JSON document"},
			{[]any{"aldaba_publish", 1, "log:a", ""}, "one JSON document"},
			{[]any{"aldaba_publish", 1, "log:a", `"` + strings.Repeat("x", 100) + `"`}, "at most 100 bytes"},
			{[]any{"aldaba_publish", 1, "log:{a}", "1"}, "name of a channel"},
			{[]any{"aldaba_publish", 1, "aldaba:live:a", "1"}, "name of a channel"},
			{[]any{"aldaba_publish", 1, "log:a"}, "one message for each"},
			{[]any{"aldaba_publish", 0, "1"}, "one channel"},
			{[]any{"aldaba_publish", 2, "log:a", "log:b", "1", "2"}, "one channel"},
			{[]any{"aldaba_publish", 1, "log:a", "1", "ttl", "5"}, "the only option"},
			{[]any{"aldaba_publish", 1, "log:a", "1", "key"}, "the only option"},
			{[]any{"aldaba_publish", 1, "log:a", "1", "key", "a b"}, "the only option"},
			{[]any{"aldaba_publish_many", 2, "plain:a", "log:a", "1", "{"}, "one JSON document"},
			{[]any{"aldaba_nothing", 1, "log:a", "1"}, "not found"},
		} {
			if answer, err := fcall(backend, c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v: %v, %v", c.args, answer, err)
			}
		}
		if _, err := fcall(backend, "aldaba_publish", 1, "log:a", `"last"`); err != nil {
			t.Fatal(err)
		}
		r.calls.await(t, `Deliver log:a "last"`)
		if got := r.calls.with("Deliver "); len(got) != 1 {
			t.Errorf("delivered %q", got)
		}
	})
}

// TestTheFunctionTakesTheNamesThatHubsDeliver, with a prefix and without.
func TestTheFunctionTakesTheNamesThatHubsDeliver(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		backend := client(t, url)
		one, two := keeping(t, url), keeping(t, url)
		one.Prefix, two.Prefix = "one:", strings.Repeat("p", 64)
		for _, o := range []Options{one, two, keeping(t, url)} {
			run(t, o)
			awaitLibrary(t, backend, o.Prefix)
			for _, channel := range []string{
				"log:" + strings.Repeat("x", 251), "log:" + strings.Repeat("x", 252), "plain:" + strings.Repeat("x", 249), "plain:" + strings.Repeat("x", 250),
				"log:a", "log:é", "log:a b", "aldaba:receipts", "aldabas:receipts", ":",
			} {
				_, err := fcall(backend, "aldaba_publish", 1, o.Prefix+channel, "1")
				if (err == nil) != validChannel(channel) {
					t.Errorf("prefix %q, %.20s of %d bytes: %v", o.Prefix, channel, len(channel), err)
				}
			}
		}
	})
}

func TestPrefixesShareTheLibrary(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		backend := client(t, url)
		one, two := keeping(t, url), keeping(t, url)
		one.Prefix, two.Prefix = "one:", "two:"
		two.Histories = auth.Histories{}
		first := run(t, one)
		awaitLibrary(t, backend, "one:")
		run(t, two)
		awaitLibrary(t, backend, "two:")
		awaitLibrary(t, backend, "one:")
		first.join(t, "log:a")
		if answer, err := fcall(backend, "aldaba_publish", 1, "one:log:a", "1"); err != nil || answer == "" {
			t.Errorf("%v, %v", answer, err)
		}
		if answer, err := fcall(backend, "aldaba_publish", 1, "two:log:a", "1"); err != nil || answer != "" {
			t.Errorf("%v, %v", answer, err)
		}
		first.calls.await(t, "Deliver log:a 1")
	})
}

func TestLibraryIsNeverDowngraded(t *testing.T) {
	line := policyHead + `{"prefix":"","limit":1,"histories":[]}` + policyTail
	other := policyHead + `{"prefix":"b:","limit":1,"histories":[]}` + policyTail
	changed := strings.Replace(line, `"limit":1`, `"limit":2`, 1)
	current := newLibrary([]string{other, line})
	later := strings.Replace(current, versionComment+strconv.Itoa(libraryVersion)+"\n", versionComment+strconv.Itoa(libraryVersion+1)+"\n-- later\n", 1)
	earlier := strings.Replace(current, versionComment+strconv.Itoa(libraryVersion)+"\n", versionComment+strconv.Itoa(libraryVersion-1)+"\n", 1)
	for name, c := range map[string]struct {
		code     string
		line     string
		starting bool
		want     string // empty: it stays
	}{
		"none":                     {"", line, false, newLibrary([]string{line})},
		"the same":                 {current, line, true, ""},
		"another line at a start":  {current, changed, true, newLibrary([]string{other, changed})},
		"another line later":       {current, changed, false, ""},
		"earlier":                  {earlier, changed, false, newLibrary([]string{other, line})},
		"later":                    {later, line, true, ""},
		"later, without our line":  {strings.Replace(later, line+"\n", "", 1), line, false, strings.Replace(strings.Replace(later, line+"\n", "", 1), "local policies = {}\n", "local policies = {}\n"+line+"\n", 1)},
		"later, with another line": {later, changed, true, strings.Replace(later, line, changed, 1)},
	} {
		got, change := merged(c.code, c.line, "", c.starting)
		if change != (c.want != "") || (change && got != c.want) {
			t.Errorf("%s: change %v\n%s", name, change, cmp.Diff(c.want, got))
		}
	}
}

// TestLuaPatternsAgree has Redis and the hub judge the same names.
func TestLuaPatternsAgree(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		policy, err := auth.NewPolicy([]auth.Pattern{
			{Name: "a.b-{c}+%x:d", History: &auth.History{Size: 5, TTL: time.Minute}},
			{Name: "x:*:y", Join: auth.JoinOnRequest, History: &auth.History{Size: 5, TTL: time.Minute}},
			{Name: "only", History: &auth.History{Size: 5, TTL: time.Minute}},
		})
		if err != nil {
			t.Fatal(err)
		}
		run(t, Options{URL: url, Histories: policy.Histories()})
		backend := client(t, url)
		awaitLibrary(t, backend, "")
		for _, channel := range []string{
			"a.b-1+%x:d", "aXb-1+%x:d", "a.b-+%x:d", "a.b-1:2+%x:d", "a.b-1+%x:d:e", "x:1:y", "x::y", "x:1:2:y", "x:1:yy", "only", "only:", "onlyy",
		} {
			_, want := policy.Histories().Of(channel)
			answer, err := fcall(backend, "aldaba_publish", 1, channel, "1")
			if err != nil || (answer != "") != want {
				t.Errorf("%s: %v, %v, want history %v", channel, answer, err, want)
			}
		}
	})
}

// TestTheFunctionTakesWhatHubsHandOn: with a position a publisher is told that the
// message will be delivered. So the function must judge as the hubs do.
func TestTheFunctionTakesWhatHubsHandOn(t *testing.T) {
	documents := []string{
		"1", "-0", "0.5", "-12.25e+3", "1E9", "null", " true ", `""`, "[]", "{}", `[1, 2.5, "a", null, false]`, "{\n\t\"a\": [true,\r\n \"b\"]\n}",
		`"\u00e9\n\"\\"`, `"\\"`, `{"\"":"]"}`, `["\\\"[",{}]`, `"é € 😀"`, "\"\x7f\"", `{"a":{"a":1}}`, "[\"a\",\n\"b\"]",
		strings.Repeat("[", 128) + strings.Repeat("]", 128), strings.Repeat(`{"a":`, 128) + "1" + strings.Repeat("}", 128), `"` + strings.Repeat("[", 300) + `"`,
		strings.Repeat("[", 129) + strings.Repeat("]", 129), strings.Repeat(`{"a":`, 129) + "1" + strings.Repeat("}", 129),
		"NaN", "nan", "-Infinity", "inf", "0x1F", "01", "-01", "1.", "+1", ".5", "1e", "[0x1]", `{"a":01}`, "-", "tru", "1 2", "1\x00", "1\x00x", "\"\x00\"",
		"\"a\nb\"", "\"a\tb\"", "\"\x1f\"", "[1,\n\"a\x01\"]", "\x0b1", "[1,]", "{'a':1}", `"\x"`, `{"a"}`,
		"\"\xff\"", "\"\xc3\"", "\"\xc0\xaf\"", "\"\xe0\x80\x80\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xf0\x9f\x98\"", "\"a\x80\"", "\"\xf0\x80\x80\x80\"",
		`"\ud83d"`, `"\uDE00"`, `"\ud83d\ude00"`, `"\ude00\ud83d"`, `{"\ud83d":"\uDBFF\uDBFF\n"}`, `"\\ud83d"`, `"\\\ud83d"`, `"\\\\ud83d\""`, `["\ud83d","\\"]`,
		`"\ud83"`, `"\\\ud8"`, `"\ud83d`, `\ud83d`, `1\ud83d`, `1\\`, `[1,\ud83d]`, `[\\]`, `"\ud83d" 1`, `["\ud83d",01]`, `["\ud83d",NaN]`, "[\"\\ud83d\",\"\x01\"]",
		`{\ud83d:1}`, `"\ud83d\x"`, `"\ud83d` + "\xff" + `"`, strings.Repeat("[", 128) + `"\ud83d"` + strings.Repeat("]", 128), strings.Repeat("[", 129) + `"\ud83d"` + strings.Repeat("]", 129),
	}
	onBoth(t, func(t *testing.T, url string) {
		o := keeping(t, url)
		run(t, o)
		backend := client(t, url)
		awaitLibrary(t, backend, "")
		for _, d := range documents {
			_, err := fcall(backend, "aldaba_publish", 1, "log:a", d)
			if want := unfit("log:a", []byte(d), 1<<16) == ""; (err == nil) != want {
				t.Errorf("%.60q: %v, and hubs would hand it on: %v", d, err, want)
			}
		}
	})
}

// TestLibraryIsInstalledAsSoonAsRedisLets: publishers wait for it.
func TestLibraryIsInstalledAsSoonAsRedisLets(t *testing.T) {
	onBoth(t, func(t *testing.T, url string) {
		var asked atomic.Int64
		runMeddled(t, keeping(t, url), &meddler{answered: func(cmd redis.Cmder) error {
			if strings.EqualFold(cmd.Name(), "function") && asked.Add(1) <= 3 {
				return io.EOF
			}
			return nil
		}})
		awaitLibrary(t, client(t, url), "")
	})
}
