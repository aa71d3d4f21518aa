package terminal

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Bytes is a size in decimal units, as disks and transfers are measured: 352 MB, 1.9 GB.
func Bytes(n int64) string {
	switch f := float64(n); {
	case n < 0:
		return "-" + Bytes(-n)
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case f < 999.5e3:
		return fmt.Sprintf("%.0f kB", f/1e3)
	case f < 999.5e6:
		return fmt.Sprintf("%.0f MB", f/1e6)
	case f < 999.5e9:
		return decimal(f/1e9) + " GB"
	default:
		return decimal(f/1e12) + " TB"
	}
}

// Rate is bytes per second: 131 MB/s.
func Rate(bytesPerSecond float64) string { return Bytes(int64(bytesPerSecond)) + "/s" }

// Duration is how long something took: 3 ms, 4.3 s, 21 s, 2 min 5 s, 1 h 3 min, 26 h, 6 days.
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + Duration(-d)
	case d == 0:
		return "0 s"
	case d < time.Millisecond:
		return "< 1 ms"
	case d < 995*time.Millisecond:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	case d < 9950*time.Millisecond:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Round(time.Second).Seconds()))
	case d < time.Hour:
		return parts(d.Round(time.Second), time.Minute, "min", time.Second, "s")
	case d < 10*time.Hour:
		return parts(d.Round(time.Minute), time.Hour, "h", time.Minute, "min")
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Round(time.Hour).Hours()))
	default:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	}
}

func parts(d, big time.Duration, bigName string, small time.Duration, smallName string) string {
	s := fmt.Sprintf("%d %s", d/big, bigName)
	if rest := d % big / small; rest > 0 {
		s += fmt.Sprintf(" %d %s", rest, smallName)
	}
	return s
}

// Ago is how long ago something was: "26 h ago", "just now". A moment to come is "in 3 h".
func Ago(now, then time.Time) string {
	switch d := now.Sub(then); {
	case d < -time.Second:
		return "in " + coarse(-d)
	case d < time.Second:
		return "just now"
	default:
		return coarse(d) + " ago"
	}
}

// coarse is a Duration of whole seconds at least, and of one unit.
func coarse(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// Percent is a fraction as the transcripts write it: 0.02 %, 7.3 %, 100 %.
func Percent(fraction float64) string {
	switch p := fraction * 100; {
	case p < 1:
		return fmt.Sprintf("%.2f %%", p)
	case p < 99.95:
		return fmt.Sprintf("%.1f %%", p)
	default:
		return fmt.Sprintf("%.0f %%", p)
	}
}

// Count is a number with its thousands apart: 24,118.
func Count(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// Plural is a count with its noun: 1 file, 1,304 files. The plural is the noun with an s.
func Plural(n int64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return Count(n) + " " + noun
}

func decimal(f float64) string {
	if f >= 9.95 {
		return fmt.Sprintf("%.0f", f)
	}
	return fmt.Sprintf("%.1f", f)
}
