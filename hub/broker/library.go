package broker

import (
	"context"
	_ "embed" // the library
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// The library `aldaba` of Redis functions is what publishers call. It is one for all
// hubs of a Redis: each of them puts in which channels keep how much, one line for each
// prefix, and leaves the others' lines alone. A later version is never replaced by an
// earlier one, so that hubs of two versions can run side by side.

// libraryVersion counts the changes of publish.lua and library.lua that publishers
// notice.
const libraryVersion = 7

//go:embed lua/library.lua
var libraryLua string

const (
	libraryName    = "aldaba"
	versionComment = "-- version "
	policyHead     = "policies[#policies + 1] = [==["
	policyTail     = "]==]"
)

// policy is what the library knows of one prefix.
type policy struct {
	Prefix    string         `json:"prefix"`
	Limit     int64          `json:"limit"` // bytes of a message
	Histories []luaHistories `json:"histories"`
}

type luaHistories struct {
	Pattern string `json:"pattern"` // of Lua, for the name without the prefix
	Size    int    `json:"size"`
	TTL     int64  `json:"ttl"` // milliseconds
}

// policyLine is the line of b's prefix.
func (b *Broker) policyLine() string {
	p := policy{Prefix: b.prefix, Limit: b.limit, Histories: []luaHistories{}}
	for _, k := range b.histories.Kept() {
		p.Histories = append(p.Histories, luaHistories{luaPattern(k.Segments), k.Size, k.TTL.Milliseconds()})
	}
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings and numbers always can be
	}
	return policyHead + string(text) + policyTail
}

// luaPattern matches the channels that segments describe.
func luaPattern(segments []string) string {
	pattern := notAlphanumeric.ReplaceAllString(strings.Join(segments, ":"), "%$0")
	return "^" + strings.ReplaceAll(pattern, "%*", "[^:]+") + "$"
}

var notAlphanumeric = regexp.MustCompile(`[^A-Za-z0-9]`)

// newLibrary is this version's code with the given lines.
func newLibrary(policies []string) string {
	return "#!lua name=" + libraryName + "\n" + versionComment + strconv.Itoa(libraryVersion) + "\nlocal policies = {}\n" +
		strings.Join(policies, "\n") + "\n" + publishLua + libraryLua
}

// merged returns the library that code, which Redis has, is to be replaced by, or false
// if it may stay. At the start of a hub its line counts, later only that there is one.
func merged(code, line, prefix string, starting bool) (string, bool) {
	version, _ := strconv.Atoi(between(code, versionComment, "\n"))
	var lines []string
	ours := ""
	for text := range strings.Lines(code) {
		text = strings.TrimSpace(text)
		if !strings.HasPrefix(text, policyHead) {
			continue
		}
		if samePrefix(text, prefix) {
			ours = text
			continue
		}
		lines = append(lines, text)
	}
	if version >= libraryVersion && ours != "" && (ours == line || !starting) {
		return "", false
	}
	if ours != "" && !starting {
		line = ours
	}
	if version <= libraryVersion {
		return newLibrary(append(lines, line)), true
	}
	if ours != "" {
		return strings.Replace(code, ours, line, 1), true
	}
	return strings.Replace(code, "local policies = {}\n", "local policies = {}\n"+line+"\n", 1), true
}

func samePrefix(line, prefix string) bool {
	var p policy
	return json.Unmarshal([]byte(between(line, policyHead, policyTail)), &p) == nil && p.Prefix == prefix
}

// between returns what stands in text between head and tail.
func between(text, head, tail string) string {
	_, rest, _ := strings.Cut(text, head)
	found, _, _ := strings.Cut(rest, tail)
	return found
}

// librarian keeps the library in place while it runs.
type librarian struct {
	*Broker

	line      string
	installed bool // once, by this hub
	told      bool // that it cannot be
	linked    chan struct{}
}

func newLibrarian(b *Broker) *librarian {
	return &librarian{Broker: b, line: b.policyLine(), linked: make(chan struct{}, 1)}
}

// look has it look after the library soon: Redis may have been restarted.
func (l *librarian) look() {
	select {
	case l.linked <- struct{}{}:
	default:
	}
}

func (l *librarian) run(ctx context.Context) {
	next := time.NewTimer(l.timing.library)
	defer next.Stop()
	failures := timeRange{l.timing.backoff.min, l.timing.library}
	for failed := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		case <-l.linked:
			failed = 0
		}
		err := l.install(ctx)
		l.tell(err)
		if err == nil {
			failed = 0
			next.Reset(l.timing.library)
			continue
		}
		// A Redis that has just come back without its data may not take commands yet;
		// until the library is there again no publisher can call it.
		failed++
		next.Reset(failures.after(failed))
	}
}

// tell logs once that publishers have no functions, and why.
func (l *librarian) tell(err error) {
	switch {
	case err == nil:
		l.told = false
	case !l.told && isAnswer(err) && len(l.histories.Kept()) > 0:
		l.told = true
		l.log.Warn("publishers cannot call aldaba_publish; it takes Redis 7 and the right to FUNCTION", "redis", l.server, "error", describe(err))
	}
}

// install puts the library in place on every server that takes writes.
func (l *librarian) install(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.timing.command)
	defer cancel()
	var err error
	if many, is := l.client.(*redis.ClusterClient); is {
		err = many.ForEachMaster(ctx, func(ctx context.Context, one *redis.Client) error { return l.installOn(ctx, one) })
	} else {
		err = l.installOn(ctx, l.client)
	}
	l.installed = l.installed || err == nil
	return err
}

func (l *librarian) installOn(ctx context.Context, server redis.Cmdable) error {
	found, err := server.FunctionList(ctx, redis.FunctionListQuery{LibraryNamePattern: libraryName, WithCode: true}).Result()
	if err != nil {
		return fmt.Errorf("list functions: %w", err)
	}
	code := ""
	if len(found) > 0 {
		code = found[0].Code
	}
	code, change := merged(code, l.line, l.prefix, !l.installed)
	if !change {
		return nil
	}
	if err := server.FunctionLoadReplace(ctx, code).Err(); err != nil {
		return fmt.Errorf("load functions: %w", err)
	}
	return nil
}
