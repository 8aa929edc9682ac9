package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"aldaba/auth"
	"aldaba/hub"

	"github.com/gin-gonic/gin"
)

const (
	pageDefault = 50
	pageLimit   = 100
	// pageBytes bounds the data of one page, but for its first message.
	pageBytes = 1 << 20
)

var errQuery = errors.New("there are after or before, a position each, and limit, 1 to 100; each once")

// history answers with a page of a channel's history.
func (a *api) history(c *gin.Context) {
	who, ok := a.asker(c)
	if !ok {
		return
	}
	channel, err := url.PathUnescape(c.Param("channel"))
	if err != nil || !who.allows(channel, auth.Receive) {
		refuse(c, http.StatusForbidden, codeForbidden, "no grant to receive on this channel")
		return
	}
	q, err := historyQuery(c.Request.URL.RawQuery)
	if err != nil {
		refuse(c, http.StatusBadRequest, codeBadRequest, errQuery.Error())
		return
	}
	if !a.withinRate(c, who, 1) {
		return
	}
	q.Channel = channel
	ctx, cancel := context.WithTimeout(c.Request.Context(), apiWait)
	defer cancel()
	page, err := a.Broker.Read(ctx, q)
	if err == nil && !page.Known && (!q.After.IsZero() || !q.Before.IsZero()) {
		err = hub.ErrGone
	}
	if err != nil {
		a.refuseHistory(c, err)
		return
	}
	c.Data(http.StatusOK, "application/json", pageBody(channel, page))
}

func (a *api) refuseHistory(c *gin.Context, err error) {
	switch {
	case errors.Is(err, hub.ErrNoHistory):
		refuse(c, http.StatusNotFound, codeNoHistory, hub.ErrNoHistory.Error())
	case errors.Is(err, hub.ErrGone):
		refuse(c, http.StatusGone, codeGone, hub.ErrGone.Error())
	default:
		a.log.Warn("history by http failed", "error", err)
		refuseFor(c, http.StatusServiceUnavailable, codeUnavailable, "redis does not answer now", apiRetry)
	}
}

// historyQuery reads `after=&before=&limit=`. What is there and empty is not there.
func historyQuery(text string) (hub.Query, error) {
	q := hub.Query{Entries: pageDefault, Bytes: pageBytes}
	values, err := url.ParseQuery(text)
	if err != nil {
		return q, err
	}
	for name, all := range values {
		if len(all) != 1 {
			return q, errQuery
		}
		value, err := all[0], error(nil)
		switch {
		case value == "" && (name == "after" || name == "before" || name == "limit"):
		case name == "after":
			q.After, err = hub.ParsePosition(value)
		case name == "before":
			q.Before, err = hub.ParsePosition(value)
		case name == "limit":
			q.Entries, err = strconv.Atoi(value)
		default:
			err = errQuery
		}
		if err != nil {
			return q, err
		}
	}
	if q.Entries < 1 || q.Entries > pageLimit || !q.After.IsZero() && !q.Before.IsZero() {
		return q, errQuery
	}
	return q, nil
}

// pageBody writes page down by itself: encoding/json would not leave the messages
// byte for byte.
func pageBody(channel string, page hub.Page) []byte {
	b := append([]byte(nil), `{"channel":`...)
	b = appendText(b, channel)
	b = append(b, `,"messages":[`...)
	for i, e := range page.Entries {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"position":`...)
		b = appendText(b, e.Position.String())
		b = append(b, `,"data":`...)
		b = append(append(b, e.Data...), '}')
	}
	b = append(b, `],"more":`...)
	return append(strconv.AppendBool(b, page.More), '}')
}

func appendText(b []byte, text string) []byte {
	quoted, err := json.Marshal(text)
	if err != nil {
		return append(b, `""`...) // text is never refused
	}
	return append(b, quoted...)
}
