package main

import (
	"fmt"
	"time"
)

// timestamp writes t as systemd's commands do, "" if there is none.
func timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("Mon 2006-01-02 15:04:05 MST")
}

// Lengths of time as systemd's commands count them.
const (
	day   = 24 * time.Hour
	week  = 7 * day
	month = 2629800 * time.Second
	year  = 31557600 * time.Second
)

// ago writes how long before now t is, in two units at most.
//
// Reference: time-util.c, format_timestamp_relative.
func ago(t, now time.Time) string {
	d, suffix := now.Sub(t), "ago"
	if d < 0 {
		d, suffix = -d, "left"
	}
	return span(d) + " " + suffix
}

func span(d time.Duration) string {
	switch {
	case d >= year:
		return count(d/year, "year") + " " + count(d%year/month, "month")
	case d >= month:
		return count(d/month, "month") + " " + count(d%month/day, "day")
	case d >= week:
		return count(d/week, "week") + " " + count(d%week/day, "day")
	case d >= 2*day:
		return count(d/day, "day")
	case d >= 25*time.Hour:
		return fmt.Sprintf("1 day %dh", (d-day)/time.Hour)
	case d >= 6*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh %dmin", d/time.Hour, d%time.Hour/time.Minute)
	case d >= 5*time.Minute:
		return fmt.Sprintf("%dmin", d/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dmin %ds", d/time.Minute, d%time.Minute/time.Second)
	case d >= time.Second:
		return fmt.Sprintf("%ds", d/time.Second)
	case d >= time.Millisecond:
		return fmt.Sprintf("%dms", d/time.Millisecond)
	}
	return fmt.Sprintf("%dus", d/time.Microsecond)
}

func count(n time.Duration, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

// size writes a number of bytes with one decimal that is not zero.
func size(bytes uint64) string {
	const units = "KMGTPE"
	if bytes < 1024 {
		return fmt.Sprintf("%dB", bytes)
	}
	unit, n := uint64(1024), 0
	for n < len(units)-1 && bytes/unit >= 1024 {
		unit *= 1024
		n++
	}
	// The remainder of an exabyte times ten does not fit 64 bits.
	tenths := bytes % unit / (unit / 1024) * 10 / 1024
	if tenths == 0 {
		return fmt.Sprintf("%d%c", bytes/unit, units[n])
	}
	return fmt.Sprintf("%d.%d%c", bytes/unit, tenths, units[n])
}

// timeOf returns the time of microseconds since the epoch, zero for 0.
func timeOf(usec uint64) time.Time {
	if usec == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(usec))
}
