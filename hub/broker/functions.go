package broker

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"
)

// functions teaches the embedded Redis what the library needs of Redis' functions, which
// miniredis does not have: FUNCTION LOAD and LIST of one library, and FCALL.
type functions struct {
	client *redis.Client

	mu   sync.Mutex
	name string
	code string
}

func newFunctions(address string) *functions {
	return &functions{client: redis.NewClient(&redis.Options{
		Addr: address, Protocol: 2, DisableIdentity: true, MaxRetries: -1,
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		},
	})}
}

func (f *functions) register(s *server.Server) error {
	return errors.Join(s.Register("FUNCTION", f.function), s.Register("FCALL", f.fcall), s.Register("FCALL_RO", f.fcall))
}

func (f *functions) function(p *server.Peer, _ string, args []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case len(args) > 0 && strings.EqualFold(args[0], "LIST"):
		f.list(p)
	case len(args) > 1 && strings.EqualFold(args[0], "LOAD"):
		code := args[len(args)-1]
		f.name, f.code = between(code, "name=", "\n"), code
		p.WriteBulk(f.name)
	default:
		p.WriteError("ERR the embedded Redis knows FUNCTION LOAD and LIST only")
	}
}

// list answers as Redis does WITHCODE. f.mu is held.
func (f *functions) list(p *server.Peer) {
	if f.code == "" {
		p.WriteLen(0)
		return
	}
	p.WriteLen(1)
	p.WriteLen(8)
	p.WriteBulk("library_name")
	p.WriteBulk(f.name)
	p.WriteBulk("engine")
	p.WriteBulk("LUA")
	p.WriteBulk("functions")
	p.WriteLen(0)
	p.WriteBulk("library_code")
	p.WriteBulk(f.code)
}

// A function is called by a script that loads the library and calls it. miniredis' cjson
// is Go's, which has no settings, knows the numbers of JSON only, and nests deeper.
const (
	callHead = `
local called = table.remove(ARGV, 1)
local functions = {}
redis.register_function = function(name, f) functions[name] = f end
cjson.new = function()
  local most
  return {
    decode_invalid_numbers = function() end,
    decode_max_depth = function(n) most = n end,
    decode = function(data)
      local depth = 0
      for bracket in string.gmatch(string.gsub(string.gsub(data, '\\.', ''), '%b""', ''), '[%[%]{}]') do
        depth = depth + ((bracket == '[' or bracket == '{') and 1 or -1)
        if depth > most then error('too deep') end
      end
      return cjson.decode(data)
    end,
  }
end
`
	callTail = "\nif not functions[called] then return redis.error_reply('ERR Function not found') end\nreturn functions[called](KEYS, ARGV)"
)

func (f *functions) fcall(p *server.Peer, _ string, args []string) {
	if len(args) < 2 {
		p.WriteError("ERR wrong number of arguments for 'fcall' command")
		return
	}
	keys, err := strconv.Atoi(args[1])
	if err != nil || keys < 0 || keys > len(args)-2 {
		p.WriteError("ERR Number of keys can't be greater than number of args")
		return
	}
	f.mu.Lock()
	code := f.code
	f.mu.Unlock()
	_, body, _ := strings.Cut(code, "\n") // without the first line, which is not Lua
	rest := append([]string{args[0]}, args[2+keys:]...)
	values := make([]any, len(rest))
	for i, v := range rest {
		values[i] = v
	}
	answer, err := f.client.Eval(context.Background(), callHead+body+callTail, args[2:2+keys], values...).Result()
	write(p, answer, err)
}

func write(p *server.Peer, answer any, err error) {
	switch v := answer.(type) {
	case nil:
		if err != nil && !errors.Is(err, redis.Nil) {
			p.WriteError(err.Error())
			return
		}
		p.WriteNull()
	case string:
		p.WriteBulk(v)
	case int64:
		p.WriteInt(int(v))
	case []any:
		p.WriteLen(len(v))
		for _, one := range v {
			write(p, one, nil)
		}
	default:
		p.WriteError("ERR an answer that the embedded Redis cannot pass on")
	}
}
