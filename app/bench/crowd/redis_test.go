package crowd

import (
	"net"
	"slices"
	"testing"
)

func TestEnterRedis(t *testing.T) {
	t.Parallel()
	const ok = "+OK\r\n"
	for _, c := range []struct {
		redis   Redis
		answer  string
		asks    []string
		refused string
	}{
		{Redis{}, ok, nil, ""},
		{Redis{Password: "p"}, ok, []string{"*2\r\n$4\r\nAUTH\r\n$1\r\np\r\n"}, ""},
		{
			Redis{User: "u", Password: "p", Database: 3},
			ok,
			[]string{"*3\r\n$4\r\nAUTH\r\n$1\r\nu\r\n$1\r\np\r\n", "*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n"},
			"",
		},
		{Redis{Password: "p", Database: 3}, "-WRONGPASS no\r\n", []string{"*2\r\n$4\r\nAUTH\r\n$1\r\np\r\n"}, "redis: -WRONGPASS no"},
	} {
		here, there := net.Pipe()
		heard := make(chan []string)
		go func() {
			var all []string
			for b := make([]byte, 256); ; {
				n, err := there.Read(b)
				if err != nil {
					heard <- all
					return
				}
				all = append(all, string(b[:n]))
				_, _ = there.Write([]byte(c.answer))
			}
		}()
		err := c.redis.enter(here)
		_ = here.Close()
		said := ""
		if err != nil {
			said = err.Error()
		}
		if got := <-heard; !slices.Equal(got, c.asks) || said != c.refused {
			t.Errorf("%+v asked %q and said %q", c.redis, got, said)
		}
	}
}
