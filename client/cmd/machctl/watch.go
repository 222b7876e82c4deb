package main

import (
	"context"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/machd/machd/client/internal/fullscreen"
)

// settling is how long what changes together may take to have changed. A start
// is a handful of events.
const settling = 50 * time.Millisecond

// whenChanged prints what draw returns, and prints it again whenever machines
// have changed, until the user has seen enough. On a terminal it has the whole
// screen.
func (a *app) whenChanged(ctx context.Context, draw func(context.Context) (string, error)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	news, lost := a.news(ctx)
	if a.ui.isTerminal() {
		if screen, err := fullscreen.Open(a.ui.out); err == nil {
			v := watchView{app: a, screen: screen, draw: draw, news: news, lost: lost}
			err := v.run(ctx)
			return join(err, screen.Close())
		}
	}
	for again := false; ; again = true {
		text, err := draw(ctx)
		if err != nil {
			return err
		}
		if again && !a.structured() {
			text = "\n" + text
		}
		a.ui.print(text)
		if a.ui.failed != nil {
			return a.ui.failed
		}
		select {
		case <-news:
		case err := <-lost:
			return err
		}
	}
}

// news returns a channel that holds something while there is something new, and
// one that tells why there will be no more, which is news as well.
func (a *app) news(ctx context.Context) (<-chan struct{}, <-chan error) {
	news, lost := make(chan struct{}, 1), make(chan error, 1)
	tell := func() {
		select {
		case news <- struct{}{}:
		default:
		}
	}
	go func() {
		defer tell()
		var later *time.Timer
		for _, err := range a.client.Watch(ctx) {
			if err != nil {
				lost <- err
				return
			}
			if later == nil {
				later = time.AfterFunc(settling, tell)
			} else {
				later.Reset(settling)
			}
		}
		lost <- ctx.Err()
	}()
	return news, lost
}

// A watchView is what is on the screen.
type watchView struct {
	*app
	screen *fullscreen.Screen
	draw   func(context.Context) (string, error)
	news   <-chan struct{}
	lost   <-chan error

	lines []string
	first int // of lines, that is shown
}

func (v *watchView) run(ctx context.Context) error {
	if err := v.refresh(ctx); err != nil {
		return err
	}
	for {
		if err := v.show(); err != nil {
			return err
		}
		e := v.screen.Next(time.Hour, v.news)
		switch {
		case e.Over != nil && e.Over != unix.SIGINT:
			return statusError(exitSignal + int(e.Over.(unix.Signal)))
		case e.Over != nil, e.Closed, e.Key == "q", ctx.Err() != nil:
			return nil
		case e.News, e.Redraw:
			select {
			case err := <-v.lost:
				return err
			default:
			}
			if err := v.refresh(ctx); err != nil {
				return err
			}
		case e.Key != "":
			v.first += scroll(e.Key, v.page(), len(v.lines))
		}
	}
}

// refresh asks again, for the terminal as wide as it is now.
func (v *watchView) refresh(ctx context.Context) error {
	_, v.ui.width = v.screen.Size()
	text, err := v.draw(ctx)
	if err != nil {
		for _, e := range flatten(err) {
			text += "machctl: " + printable(e.Error()) + "\n"
		}
	}
	v.lines = strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	return nil
}

// page is how many lines there is room for, above an empty line and the keys.
func (v *watchView) page() int {
	height, _ := v.screen.Size()
	return max(height-bottomLines, 1)
}

func (v *watchView) show() error {
	_, width := v.screen.Size()
	v.first = max(min(v.first, len(v.lines)-v.page()), 0)
	lines := make([]string, 0, v.page()+bottomLines)
	for _, line := range v.lines[v.first:min(v.first+v.page(), len(v.lines))] {
		lines = append(lines, fullscreen.Fit(line, width))
	}
	for len(lines) < v.page() {
		lines = append(lines, "")
	}
	keys := "q leaves   " + time.Now().Format("15:04:05") + ", and again when something changes"
	return v.screen.Draw(append(lines, "", v.ui.styled(fullscreen.Fit(keys, width), styleGrey)))
}

// scroll is by how many of all lines a key moves what is shown.
func scroll(key string, page, all int) int {
	switch key {
	case "up", "k":
		return -1
	case "down", "j":
		return 1
	case "pageup":
		return -page
	case "pagedown", " ":
		return page
	case "home", "g":
		return -all
	case "end", "G":
		return all
	}
	return 0
}
