package terminal

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/colorprofile"

	"github.com/smart-assistant/platform/cli/fault"
)

func TestTables(t *testing.T) {
	build := func() *Table {
		return NewTable("", "release", "schema", "replicas").Right(2).
			Row("dev", "v1.9.2", "45", Good("1/1")).
			Row("staging", Strong("v1.9.1"), "44", "2/2").
			Row("prod", "v1.9.0", "143", Bad("0/3"))
	}
	want := `            release   schema   replicas
  dev       v1.9.2        45   1/1
  staging   v1.9.1        44   2/2
  prod      v1.9.0       143   0/3
`
	plain, out, _ := Test(TestOptions{})
	plain.Table(build())
	if out.String() != want {
		t.Errorf("piped:\n%s\nwant:\n%s", out, want)
	}
	person, out, _ := Test(TestOptions{Terminal: true, Color: true})
	person.Table(build())
	lines, _ := screen(t, out.String(), 80)
	if got := strings.Join(lines, "\n") + "\n"; got != want {
		t.Errorf("terminal:\n%s\nwant:\n%s", got, want)
	}
	if !strings.Contains(out.String(), "\x1b[32m1/1") {
		t.Errorf("no colour in %q", out)
	}
}

func TestATableFitsTheTerminal(t *testing.T) {
	io, out, _ := Test(TestOptions{Terminal: true, Width: 40})
	io.Table(NewTable("gate", "detail").Row("backup fresh", "base 5 h ago, last restored in a drill 2 days ago"))
	lines, _ := screen(t, out.String(), 40)
	if len(lines) < 3 {
		t.Errorf("not wrapped:\n%s", out)
	}
	if text := strings.Join(strings.Fields(out.String()), " "); !strings.Contains(text, "drill") || !strings.Contains(text, "days") {
		t.Errorf("words are lost:\n%s", out)
	}
}

func TestAlign(t *testing.T) {
	var b strings.Builder
	Align(&b, "  ", [][]string{{"prod runs", "v1.8.2", "schema 41"}, {"staging has", Good("v1.9.0"), ""}, {"a long cell at the end of a row"}})
	io, out, _ := Test(TestOptions{})
	if _, err := io.Out.Write([]byte(b.String())); err != nil {
		t.Fatal(err)
	}
	want := "  prod runs     v1.8.2   schema 41\n  staging has   v1.9.0\n  a long cell at the end of a row\n"
	if out.String() != want {
		t.Errorf("%q, want %q", out, want)
	}
}

func TestConfirm(t *testing.T) {
	ctx := context.Background()
	for name, tt := range map[string]struct {
		options TestOptions
		code    int
	}{
		"the name":          {TestOptions{Terminal: true, Input: "prod\n"}, fault.OK},
		"with spaces":       {TestOptions{Terminal: true, Input: "  prod \n"}, fault.OK},
		"without a newline": {TestOptions{Terminal: true, Input: "prod"}, fault.OK},
		"another":           {TestOptions{Terminal: true, Input: "yes\n"}, fault.Refused},
		"nothing":           {TestOptions{Terminal: true, Input: "\n"}, fault.Refused},
		"end of input":      {TestOptions{Terminal: true}, fault.Refused},
		"no terminal":       {TestOptions{Input: "prod\n"}, fault.Usage},
	} {
		t.Run(name, func(t *testing.T) {
			io, out, errOut := Test(tt.options)
			err := io.Confirm(ctx, "Type prod to go on: ", "prod", "--yes --confirm=prod")
			if fault.CodeOf(err) != tt.code {
				t.Errorf("error %v", err)
			}
			if out.Len() != 0 {
				t.Errorf("data: %q", out)
			}
			asked := strings.Contains(errOut.String(), "Type prod to go on: ")
			if asked != tt.options.Terminal {
				t.Errorf("asked: %v", asked)
			}
			if !tt.options.Terminal && fault.HintOf(err) != "pass --yes --confirm=prod" {
				t.Errorf("hint %q", fault.HintOf(err))
			}
		})
	}
}

func TestCtrlCEndsAQuestion(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	io, _, _ := Test(TestOptions{Terminal: true})
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	io.In = reader
	cancel()
	if err := io.Confirm(ctx, "Name: ", "prod", ""); fault.CodeOf(err) != fault.Interrupted {
		t.Errorf("error %v", err)
	}
}

func TestTwoQuestionsTakeALineEach(t *testing.T) {
	io, _, _ := Test(TestOptions{Terminal: true, Input: "\nprod\n"})
	at, err := io.Ask(context.Background(), "Restore to [02:50:58]: ", "02:50:58", "--to")
	if err != nil || at != "02:50:58" {
		t.Errorf("%q, %v", at, err)
	}
	if err := io.Confirm(context.Background(), "Type prod to restore it: ", "prod", ""); err != nil {
		t.Error(err)
	}
}

func TestColoursAreDroppedWhereTheyDoNotBelong(t *testing.T) {
	io, out, errOut := Test(TestOptions{Terminal: true, Color: true})
	io.NoColor()
	_, _ = io.Out.Write([]byte(Good("data") + "\n"))
	_, _ = io.Err.Write([]byte(Bad("error") + "\n"))
	if out.String() != "data\n" || errOut.String() != "error\n" {
		t.Errorf("%q, %q", out, errOut)
	}
}

func TestTheEnvironmentDecidesAboutColours(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, tt := range map[string]struct {
		environ []string
		colours bool
	}{
		"a pipe":               {[]string{"TERM=xterm-256color"}, false},
		"CLICOLOR_FORCE":       {[]string{"TERM=xterm-256color", "CLICOLOR_FORCE=1"}, true},
		"NO_COLOR beats force": {[]string{"TERM=xterm-256color", "CLICOLOR_FORCE=1", "NO_COLOR=please"}, false},
		"an empty NO_COLOR":    {[]string{"TERM=xterm-256color", "CLICOLOR_FORCE=1", "NO_COLOR="}, true},
		"CLICOLOR=0":           {[]string{"TERM=xterm-256color", "CLICOLOR=0"}, false},
	} {
		if got := detect(file, tt.environ) >= colorprofile.ANSI; got != tt.colours {
			t.Errorf("%s: colours %v", name, got)
		}
	}
}

func TestJSON(t *testing.T) {
	io, out, _ := Test(TestOptions{})
	if err := io.JSON(map[string]string{"url": "http://a?b&c"}); err != nil {
		t.Fatal(err)
	}
	if want := "{\n  \"url\": \"http://a?b&c\"\n}\n"; out.String() != want {
		t.Errorf("%q", out)
	}
	if err := io.JSON(func() {}); err == nil {
		t.Error("a function was written")
	}
}

func TestHumanFormats(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 999: "999 B", 1000: "1 kB", 352_000_000: "352 MB", 1_900_000_000: "1.9 GB", 12_000_000_000: "12 GB",
		999_600: "1 MB", 999_600_000: "1.0 GB", 2_500_000_000_000: "2.5 TB", -5_000: "-5 kB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0 s", 200 * time.Microsecond: "< 1 ms", 3 * time.Millisecond: "3 ms", 997 * time.Millisecond: "1.0 s", 4300 * time.Millisecond: "4.3 s",
		21 * time.Second: "21 s", 119 * time.Second: "119 s", 125 * time.Second: "2 min 5 s", 5 * time.Minute: "5 min",
		63 * time.Minute: "1 h 3 min", 26 * time.Hour: "26 h", 6 * 24 * time.Hour: "6 days",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%s) = %q, want %q", d, got, want)
		}
	}
	now := newClock().at
	for d, want := range map[time.Duration]string{
		0: "just now", 26 * time.Second: "26 s ago", 26 * time.Hour: "26 h ago", 48 * time.Hour: "2 days ago", -3 * time.Hour: "in 3 h", 90 * time.Minute: "90 min ago",
	} {
		if got := Ago(now, now.Add(-d)); got != want {
			t.Errorf("Ago(%s) = %q, want %q", d, got, want)
		}
	}
	for f, want := range map[float64]string{0: "0.00 %", 0.0002: "0.02 %", 0.005: "0.50 %", 0.073: "7.3 %", 1: "100 %"} {
		if got := Percent(f); got != want {
			t.Errorf("Percent(%v) = %q, want %q", f, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 24_118: "24,118", 2_481_003: "2,481,003", -1_304: "-1,304"} {
		if got := Count(n); got != want {
			t.Errorf("Count(%d) = %q, want %q", n, got, want)
		}
	}
	if got := Plural(1, "file") + ", " + Plural(1304, "file"); got != "1 file, 1,304 files" {
		t.Error(got)
	}
}

var _ io.Writer = (*stream)(nil)
