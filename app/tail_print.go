package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"time"

	"aldaba/hub/broker"
)

// tailPrinter prints messages and frames, for people or for programs.
type tailPrinter struct {
	out  io.Writer
	json bool
	left int // how many messages are still wanted; 0: no end
}

const clock = "15:04:05.000"

// message prints what passed through Redis.
func (p *tailPrinter) message(m broker.Message) error {
	var err error
	if p.json {
		err = p.messageJSON(m)
	} else {
		_, err = fmt.Fprintf(p.out, "%s  %s  %s\n", m.At.Format(clock), printable(m.Channel), oneLine(m.Data))
	}
	if err != nil {
		return err
	}
	return p.counted()
}

func (p *tailPrinter) messageJSON(m broker.Message) error {
	line := struct {
		At       time.Time       `json:"at"`
		Channel  string          `json:"channel"`
		Position string          `json:"position,omitempty"` // if it was recorded at once
		Data     json.RawMessage `json:"data,omitempty"`
		Text     string          `json:"text,omitempty"` // instead of data that is not JSON
	}{At: m.At.UTC(), Channel: m.Channel, Position: m.Position.String()}
	if json.Valid(m.Data) {
		line.Data = m.Data
	} else {
		line.Text = string(m.Data)
	}
	e := json.NewEncoder(p.out)
	e.SetEscapeHTML(false)
	return e.Encode(line)
}

func (p *tailPrinter) counted() error {
	if p.left == 0 {
		return nil
	}
	if p.left--; p.left == 0 {
		return errEnough
	}
	return nil
}

// oneLine is a message as a line of text that a terminal shows and does not obey.
func oneLine(data []byte) string {
	var b bytes.Buffer
	if json.Compact(&b, data) != nil {
		return strconv.Quote(string(data)) + "  (not JSON: no hub delivers it)"
	}
	return printable(b.String())
}

// frame is what a hub says, as far as it is printed for people.
type frame struct {
	Type     string          `json:"type"`
	Channel  string          `json:"channel"`
	Data     json.RawMessage `json:"data"`
	User     string          `json:"user"`
	Session  string          `json:"session"`
	Expires  int64           `json:"expires_at"`
	Code     string          `json:"code"`
	Message  string          `json:"message"`
	Reason   string          `json:"reason"`
	Channels []struct {
		Channel string `json:"channel"`
	} `json:"channels"`
}

// frame prints what the hub said.
func (p *tailPrinter) frame(f frame, raw []byte) error {
	var err error
	switch {
	case p.json:
		_, err = fmt.Fprintf(p.out, "%s\n", raw)
	case f.Type == "message":
		return p.message(broker.Message{At: time.Now(), Channel: f.Channel, Data: f.Data})
	default:
		_, err = fmt.Fprintf(p.out, "%s  %s\n", time.Now().Format(clock), printable(f.words()))
	}
	if err == nil && f.Type == "message" {
		return p.counted()
	}
	return err
}

// words is what f says, for people.
func (f frame) words() string {
	until := time.Unix(f.Expires, 0).Format("15:04:05")
	switch f.Type {
	case "welcome":
		names := make([]string, len(f.Channels))
		for i, c := range f.Channels {
			names[i] = c.Channel
		}
		if len(names) == 0 {
			names = []string{"no channel"}
		}
		return fmt.Sprintf("welcome, %s, until %s: %s", f.User, until, joinWords(names))
	case "joined":
		return "joined " + f.Channel
	case "left":
		return "left " + f.Channel + ": " + f.Reason
	case "resync":
		return "resync " + f.Channel + ": messages may have been lost here"
	case "expiring":
		return "the token expires at " + until
	case "error":
		return fmt.Sprintf("error %s: %s", f.Code, f.Message)
	default:
		return f.Type
	}
}
