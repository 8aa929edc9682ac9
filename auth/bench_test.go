package auth

import (
	"fmt"
	"testing"
)

// BenchmarkVerify is what each connection and each refresh of a token costs.
func BenchmarkVerify(b *testing.B) {
	claims := payload("rooms", []string{"1", "2", "3"}, "org", map[string]any{"id": 5})
	publicFile := func(key any) string { return fileWith(b, publicPEM(b, key)) }
	for _, c := range []struct {
		issuer Issuer
		key    any
	}{
		{hs256(), []byte(secret)},
		{Issuer{Algorithm: "RS256", PublicKeyFile: publicFile(rsaKey().Public())}, rsaKey()},
		{Issuer{Algorithm: "ES256", PublicKeyFile: publicFile(p256Key().Public())}, p256Key()},
		{Issuer{Algorithm: "EdDSA", PublicKeyFile: publicFile(ed25519Key().Public())}, ed25519Key()},
	} {
		b.Run(c.issuer.Algorithm, func(b *testing.B) {
			v := verifier(b, c.issuer)
			token := signedBy(b, c.issuer.Algorithm, c.key, nil, claims)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(b.Context(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// benchPolicy is the policy of the documentation.
func benchPolicy(b *testing.B) *Policy {
	b.Helper()
	return policy(b,
		Pattern{Name: "user:{sub}"},
		Pattern{Name: "room:{rooms}", Publish: true, Presence: true},
		Pattern{Name: "org:{org.id}:news"},
		Pattern{Name: "broadcast"},
		Pattern{Name: "room:*", If: `"admin" in claims.roles`},
	)
}

// benchClaims returns the claims of an admin in rooms r0, r1, ….
func benchClaims(rooms int) *Claims {
	list := make([]any, rooms)
	for i := range list {
		list[i] = fmt.Sprintf("r%d", i)
	}
	return &Claims{User: "42", Values: map[string]any{
		"sub": "42", "rooms": list, "org": map[string]any{"id": "5"}, "roles": []any{"staff", "admin"},
	}}
}

// BenchmarkGrants is what each connection costs beside its token: what it may
// do, and all that it joins.
func BenchmarkGrants(b *testing.B) {
	p := benchPolicy(b)
	for _, rooms := range []int{1, 100} {
		claims := benchClaims(rooms)
		want := rooms + 3 // its user, its organisation, and broadcast
		b.Run(fmt.Sprintf("rooms=%d", rooms), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if joined := p.Grants(claims).Auto(); len(joined) != want {
					b.Fatalf("joined %d channels", len(joined))
				}
			}
		})
	}
}

// BenchmarkLookup is what each request for a channel costs, of somebody with 100
// rooms: from the list, through the `*`, and what nobody has.
func BenchmarkLookup(b *testing.B) {
	grants := benchPolicy(b).Grants(benchClaims(100))
	for _, c := range []struct {
		name, channel string
		want          bool
	}{
		{"joined", "room:r99", true},
		{"on-request", "room:elsewhere", true},
		{"refused", "user:43", false},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := grants.Lookup(c.channel); ok != c.want {
					b.Fatalf("granted: %v", ok)
				}
			}
		})
	}
}
