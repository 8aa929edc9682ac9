package crowd

import "testing"

// A page stands where its own channel says, whatever other channels with a history say.
func TestPositionOfRecordedChannel(t *testing.T) {
	t.Parallel()
	c := &crowd{order: Connect{Log: "inbox:{sub}", Resume: true}, pages: make([]page, 1), faults: make(map[string]int)}
	c.recorded = recordedBy(c.order.Log)
	c.welcomed(0, []byte(`{"type":"welcome","channels":[{"channel":"news","position":"1:5-9"},{"channel":"inbox:bench-0","position":"1:7-9"}]}`))
	p := &c.pages[0]
	if string(p.position) != "1:7-9" {
		t.Fatalf("it stands at %q", p.position)
	}
	c.message(0, []byte(`{"type":"message","channel":"news","position":"1:6-9","data":1}`))
	c.message(0, []byte(`{"type":"message","channel":"inbox:bench-0","position":"1:8-9","data":1}`))
	if len(c.faults) != 0 || string(p.position) != "1:8-9" {
		t.Errorf("%s; it stands at %s", Faults(c.faults), p.position)
	}
	c.message(0, []byte(`{"type":"message","channel":"inbox:bench-0","position":"1:10-9","data":1}`))
	c.welcomed(0, []byte(`{"type":"welcome","channels":[{"channel":"news","position":"1:5-9","recovered":true},{"channel":"inbox:bench-0","position":"1:12-9","recovered":false}]}`))
	if c.faults["a message 2 places after the one before it"] != 1 || c.faults["not recovered"] != 1 {
		t.Error(Faults(c.faults))
	}
}
