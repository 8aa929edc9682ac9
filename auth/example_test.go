package auth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"aldaba/auth"
)

// From a token to the channels of whoever has it.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	issuer := auth.Issuer{Secret: "the secret that your application signs its tokens with"}
	verifier := must(auth.NewVerifier(ctx, []auth.Issuer{issuer}, 30*time.Second))
	policy := must(auth.NewPolicy([]auth.Pattern{{Name: "user:{sub}"}, {Name: "broadcast"}}))

	// Your application does this, with the JWT library of its language.
	token := must(auth.Sign(issuer, map[string]any{"sub": "42", "exp": time.Now().Add(time.Hour).Unix()}))

	claims, err := verifier.Verify(ctx, token)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("user", claims.User)
	for _, grant := range policy.Grants(claims).Auto() {
		fmt.Println(grant.Channel)
	}
	// Output:
	// user 42
	// user:42
	// broadcast
}

// Every fault is reported at once, each with the place where it is.
func ExampleNewPolicy() {
	_, err := auth.NewPolicy([]auth.Pattern{
		{Name: "user:{sub}"},
		{Name: "room:{rooms}{teams}"},
		{Name: "room:*", Join: auth.JoinAuto},
	})
	fmt.Println(err)
	// Output:
	// [1].name: two placeholders in the segment "{rooms}{teams}": put a colon between them
	// [2].join: `*` stands for too many channels to join by itself: on-request
}

// A session joins what the patterns become when filled in with its claims; what
// has a `*` it may ask for.
func ExamplePolicy_Grants() {
	policy := must(auth.NewPolicy([]auth.Pattern{
		{Name: "user:{sub}"},
		{Name: "room:{rooms}", Publish: true},
		{Name: "org:{org.id}:news"},
		{Name: "room:*", If: `"admin" in claims.roles`},
	}))
	grants := policy.Grants(&auth.Claims{Values: map[string]any{
		"sub":   "auth0:7", // the colon must not make a segment of its own
		"rooms": []any{"kitchen", "hall"},
		"org":   map[string]any{"id": 5},
		"roles": []any{"admin"},
	}})
	for _, grant := range grants.Auto() {
		fmt.Printf("%s publish=%v\n", grant.Channel, grant.Publish)
	}
	for _, channel := range []string{"room:attic", "room:attic:safe", "user:auth0:7", "user:8"} {
		fmt.Println(channel, grants.Allows(channel, auth.Receive))
	}
	// Output:
	// user:auth0%3A7 publish=false
	// room:kitchen publish=true
	// room:hall publish=true
	// org:5:news publish=false
	// room:attic true
	// room:attic:safe false
	// user:auth0:7 false
	// user:8 false
}

// Each pattern says why it grants, or why not.
func ExamplePolicy_Explain() {
	policy := must(auth.NewPolicy([]auth.Pattern{
		{Name: "user:{sub}"},
		{Name: "room:{rooms}"},
		{Name: "room:*", If: `"admin" in claims.roles`},
	}))
	claims := &auth.Claims{Values: map[string]any{"sub": "42", "rooms": []any{"1", "2"}, "roles": []any{}}}
	for _, channel := range []string{"room:1", "room:10"} {
		explanation := policy.Explain(claims, channel, auth.Receive)
		fmt.Println(channel, explanation.Allowed)
		for _, reason := range explanation.Reasons {
			fmt.Printf("  %s: %s\n", reason.Pattern, reason.Reason)
		}
	}
	// Output:
	// room:1 true
	//   user:{sub}: does not match the channel's name
	//   room:{rooms}: claim "rooms" contains "1"
	//   room:*: condition is false
	// room:10 false
	//   user:{sub}: does not match the channel's name
	//   room:{rooms}: claim "rooms" does not contain "10"
	//   room:*: condition is false
}

// A browser cannot set headers for a WebSocket: the token goes beside the
// subprotocol, never into the URL.
func ExampleFromRequest() {
	request := must(http.NewRequestWithContext(context.Background(), http.MethodGet, "https://hub.example/ws", http.NoBody))
	request.Header.Set("Sec-WebSocket-Protocol", "aldaba.v1, bearer.a.b.c")
	token, _, err := auth.FromRequest(request, "")
	fmt.Println(token, err)

	request.URL.RawQuery = "token=a.b.c"
	_, _, err = auth.FromRequest(request, "")
	fmt.Println(errors.Is(err, auth.ErrTokenInURL))
	// Output:
	// a.b.c <nil>
	// true
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
