package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/target"
)

// loggedEnvironment has log files and was never up.
func loggedEnvironment(t *testing.T, files map[string]string) *Environment {
	t.Helper()
	e, err := Open(Config{Environment: "test", Root: t.TempDir(), LogBytes: 100})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(e.path("log"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(e.path("log", name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

func TestLogsAreMergedByTime(t *testing.T) {
	e := loggedEnvironment(t, map[string]string{
		"postgres.log":       "2026-01-02 03:04:01.000 UTC [1] LOG:  one\n\tgoes on\n2026-01-02 03:04:04.500 UTC [1] LOG:  four\n",
		"api-1@v1.log.1":     `{"time":"2026-01-02T03:04:00Z","msg":"zero"}` + "\n",
		"api-1@v1.log":       `{"time":"2026-01-02T03:04:02Z","msg":"two"}` + "\nhalf a li",
		"api-2@v2_beta.log":  `{"time":"2026-01-02T03:04:03Z","msg":"three"}` + "\n",
		"something-else.txt": "no log",
	})
	read := func(q target.LogQuery) string {
		var out bytes.Buffer
		if err := e.Logs(t.Context(), q, &out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	want := `api-1 | {"time":"2026-01-02T03:04:00Z","msg":"zero"}
postgres | 2026-01-02 03:04:01.000 UTC [1] LOG:  one
postgres | 	goes on
api-1 | {"time":"2026-01-02T03:04:02Z","msg":"two"}
api-2 | {"time":"2026-01-02T03:04:03Z","msg":"three"}
postgres | 2026-01-02 03:04:04.500 UTC [1] LOG:  four
`
	if got := read(target.LogQuery{}); got != want {
		t.Errorf("got\n%s", got)
	}
	for _, c := range []struct {
		q    target.LogQuery
		want []string
	}{
		{target.LogQuery{Component: "postgres"}, []string{"one", "goes on", "four"}},
		{target.LogQuery{Component: "replicas"}, []string{"zero", "two", "three"}},
		{target.LogQuery{Release: "v2/beta"}, []string{"three"}},
		{target.LogQuery{Tail: 1}, []string{"two", "three", "four"}},
		{target.LogQuery{Since: time.Date(2026, 1, 2, 3, 4, 2, 0, time.UTC)}, []string{"two", "three", "four"}},
	} {
		got := read(c.q)
		if strings.Count(got, "\n") != len(c.want) {
			t.Errorf("%+v: got\n%s", c.q, got)
		}
		for _, w := range c.want {
			if !strings.Contains(got, w) {
				t.Errorf("%+v: no %q in\n%s", c.q, w, got)
			}
		}
	}
	if err := e.Logs(t.Context(), target.LogQuery{Component: "redis"}, &bytes.Buffer{}); err == nil {
		t.Error("logs of what does not exist: no error")
	}
}

func TestLogsAreFollowedOverRotation(t *testing.T) {
	e := loggedEnvironment(t, map[string]string{"postgres.log": "old\n"})
	path := e.path("log", "postgres.log")
	appendLine := func(text string) {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
			return
		}
		_, err = f.WriteString(text + "\n")
		if err := errors.Join(err, f.Close()); err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	lines := make(chan string, 10)
	ended := make(chan error, 1)
	go func() {
		ended <- e.Logs(ctx, target.LogQuery{Component: "postgres", Follow: true}, lineWriter(lines))
	}()
	for i, step := range []func(){
		func() {},
		func() { appendLine("new") },
		func() {
			if err := rotate(path); err != nil {
				t.Error(err)
			}
			appendLine("hi")
		},
	} {
		step()
		if got, want := <-lines, []string{"old\n", "new\n", "hi\n"}[i]; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if kept, err := os.ReadFile(path + ".1"); err != nil || string(kept) != "old\nnew\n" {
		t.Errorf("the rotated log holds %q, %v", kept, err)
	}
}

type lineWriter chan string

func (w lineWriter) Write(b []byte) (int, error) { w <- string(b); return len(b), nil }

func TestLogFolderStaysSmall(t *testing.T) {
	files := map[string]string{"postgres.log": strings.Repeat("x", 101), "versitygw.log": strings.Repeat("x", 99)}
	for i := range keptReplicaLogs + 5 {
		files[fmt.Sprintf("api-%d@v1.log", i)] = "x\n"
	}
	e := loggedEnvironment(t, files)
	for i := range keptReplicaLogs + 5 {
		written := time.Unix(int64(1_700_000_000+i), 0)
		if err := os.Chtimes(e.replicaLog(fmt.Sprintf("api-%d", i), "v1"), written, written); err != nil {
			t.Fatal(err)
		}
	}
	s := &supervisor{env: e, replicas: []*replica{{keeper: &keeper{name: "api-0"}}}} // the oldest still runs
	if err := s.rotateOnce(); err != nil {
		t.Fatal(err)
	}
	left, err := e.logFiles()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, f := range left {
		names[f.name] = true
	}
	if len(left) != keptReplicaLogs+3 || !names["api-0"] || names["api-1"] || names["api-4"] || !names["api-5"] {
		t.Errorf("%d logs are left: %v", len(left), names)
	}
	for path, want := range map[string]int64{"postgres.log": 0, "postgres.log.1": 101, "versitygw.log": 99} {
		if info, err := os.Stat(e.path("log", path)); err != nil || info.Size() != want {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
}
