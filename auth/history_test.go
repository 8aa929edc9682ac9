package auth

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestHistoriesGoByTheNameAlone(t *testing.T) {
	short, long := &History{Size: 5, TTL: time.Minute}, &History{Size: 100, TTL: time.Hour}
	policy, err := NewPolicy([]Pattern{
		{Name: "user:{sub}", History: long},
		{Name: "room:{rooms}"},
		{Name: "room:*", Join: JoinOnRequest, If: "'admin' in claims.roles", History: short},
		{Name: "room:{rooms}:log", History: long},
		{Name: "broadcast", History: short},
		{Name: "team-{team}-x", History: short},
	})
	if err != nil {
		t.Fatal(err)
	}
	histories := policy.Histories()
	for channel, want := range map[string]*History{
		"user:42": long, "user:42:x": nil, "user:": nil, "user": nil,
		"room:7": short, "room:7:log": long, "room:7:logs": nil,
		"broadcast": short, "broadcast2": nil, "team-9-x": short, "team--x": nil,
	} {
		got, ok := histories.Of(channel)
		if ok != (want != nil) || (ok && got != *want) {
			t.Errorf("%s: got %v, %v, want %v", channel, got, ok, want)
		}
	}
	var prefixes []string
	for _, k := range histories.Kept() {
		prefix, whole := k.Prefix()
		if whole {
			prefix += "!"
		}
		prefixes = append(prefixes, prefix)
	}
	if diff := cmp.Diff([]string{"user:", "room:", "room:", "broadcast!", "team-"}, prefixes); diff != "" {
		t.Error(diff)
	}
	if _, ok := (Histories{}).Of("user:42"); ok {
		t.Error("the zero value keeps something")
	}
}

// TestNothingIsKeptOfTheHubsOwnNames: a placeholder at the front fits them, too.
func TestNothingIsKeptOfTheHubsOwnNames(t *testing.T) {
	kept := &History{Size: 5, TTL: time.Minute}
	policy, err := NewPolicy([]Pattern{
		{Name: "{org}:{sub}", History: kept},
		{Name: "*:*:{sub}", Join: JoinOnRequest, History: kept},
	})
	if err != nil {
		t.Fatal(err)
	}
	histories := policy.Histories()
	for channel, want := range map[string]bool{
		"aldaba:receipts": false, "aldaba:probe:X": false, "aldabas:receipts": true, "o:aldaba": true, "o:probe:X": true,
	} {
		if _, ok := histories.Of(channel); ok != want {
			t.Errorf("%s: got %v, want %v", channel, ok, want)
		}
	}
}
