package server

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReceiptOfSessionsAndReplicas(t *testing.T) {
	one := startReal(t)
	two := startReplica(t, one.redis)
	eventually(t, "both listen to questions", func() bool {
		n, _ := one.redis.Do("PUBSUB", "NUMSUB", "aldaba:receipts").([]any)
		return len(n) == 2 && n[1] == int64(2)
	})
	for _, r := range []*realSite{one, two, two} {
		r.connect(tokenOf(t, "anna", time.Hour))
	}
	one.connect(tokenOf(t, "ben", time.Hour))
	_, body := two.do(http.MethodPost, two.public+"/v1/publish",
		`{"channels":["user:anna","user:ben","user:carla"],"data":1,"receipt":true,"key":"k"}`, asJSON, asBilling)
	var got struct{ Results []result }
	if err := json.Unmarshal([]byte(body), &got); err != nil || len(got.Results) != 3 {
		t.Fatal(body)
	}
	for i, want := range []receipt{{3, 2, true}, {1, 1, true}, {0, 0, true}} {
		if diff := cmp.Diff(&want, got.Results[i].Receipt); diff != "" {
			t.Errorf("message %d (-want +got):\n%s", i, diff)
		}
	}
	// Without history, and one channel alone.
	_, body = one.do(http.MethodPost, one.public+"/v1/publish", `{"channel":"room:lobby","data":1,"receipt":true}`, asJSON, "Authorization: Bearer "+chatKey)
	if want := `{"channel":"room:lobby","receipt":{"sessions":4,"replicas":2,"complete":true}}`; body != want {
		t.Errorf("%s, want %s", body, want)
	}
	// What was published before is handed to nobody now.
	_, body = one.do(http.MethodPost, one.public+"/v1/publish", `{"channel":"user:anna","data":1,"receipt":true,"key":"k"}`, asJSON, asBilling)
	var again result
	if err := json.Unmarshal([]byte(body), &again); err != nil || !again.Duplicate || again.Receipt != nil {
		t.Errorf("%s", body)
	}
}

// TestReceiptTellsNobodyWhoIsThere has users who may publish, and not see presence.
func TestReceiptTellsNobodyWhoIsThere(t *testing.T) {
	s, b := startAPI(t)
	const asking = `{"channel":"room:lobby","data":1,"receipt":true}`
	answer, body := s.do(http.MethodPost, s.public+"/v1/publish", asking, asJSON, tokenOf(t, "anna", time.Hour))
	isProblem(t, "a room without presence", answer, body, http.StatusForbidden, codeForbidden)
	for _, wrong := range []string{`"true"`, `1`, `null`, `{}`} {
		answer, body = s.do(http.MethodPost, s.public+"/v1/publish", `{"channel":"user:1","data":1,"receipt":`+wrong+`}`, asJSON, asBilling)
		isProblem(t, wrong, answer, body, http.StatusBadRequest, codeBadRequest)
	}
	answer, body = s.do(http.MethodPost, s.public+"/v1/publish", `{"messages":[{"channel":"user:1","data":1,"receipt":true}]}`, asJSON, asBilling)
	isProblem(t, "within messages", answer, body, http.StatusBadRequest, codeBadRequest)
	if got := b.noted(); len(got) > 0 {
		t.Errorf("published %v", got)
	}
	if answer, body = s.do(http.MethodPost, s.public+"/v1/publish", `{"receipt":false,"messages":[{"channel":"user:1","data":1}]}`, asJSON, asBilling); answer.StatusCode != http.StatusOK {
		t.Errorf("%d %s", answer.StatusCode, body)
	}
}
