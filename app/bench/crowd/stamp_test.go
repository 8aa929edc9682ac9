package crowd

import "testing"

func TestStampIsReadAsWritten(t *testing.T) {
	t.Parallel()
	for _, of := range []stream{private, room, endOfRoom} {
		want := stamp{due: 1790000000000000000, of: of, n: 42}
		frame := append(want.append([]byte(`{"type":"message","channel":"room:bench","data":`)), `,"pad":"x"}}`...)
		if got, ok := readStamp(frame); !ok || got != want {
			t.Errorf("%s: %+v, %v", frame, got, ok)
		}
	}
}

func TestMessageOfSomebodyElseHasNoStamp(t *testing.T) {
	t.Parallel()
	for _, data := range []string{`{}`, `{"due":1}`, `{"due":1,"private":"x"}`, `{"due":1,"other":1}`, `"room":1`} {
		if got, ok := readStamp([]byte(`{"type":"message","data":` + data + `}`)); ok {
			t.Errorf("%s: %+v", data, got)
		}
	}
}
