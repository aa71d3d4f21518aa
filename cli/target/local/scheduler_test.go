package local

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/target"
)

func contextForUser() context.Context { return context.Background() }

// testJobs are the jobs of the test's supervisor: each argument is name=file; a job appends a line to its file, and fails when the
// file cannot be written.
func testJobs(args []string) []Job {
	var jobs []Job
	for _, arg := range args {
		name, path, _ := strings.Cut(arg, "=")
		jobs = append(jobs, Job{Name: name, Next: Every(time.Hour), Run: func(context.Context) error {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString("ran\n")
			return errors.Join(err, f.Close())
		}})
	}
	return jobs
}

func TestScheduledJobs(t *testing.T) {
	var path string
	e := newEnvironment(t, func(c *Config) {
		path = c.Root + "/done"
		c.Supervise = append(c.Supervise, "backup="+path, "prune="+c.Root+"/none")
	})
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	up(t, e)
	result := func(name string) target.JobResult {
		for _, j := range status(t, e).Jobs {
			if j.Name == name {
				return j
			}
		}
		t.Fatalf("the status has no job %s", name)
		return target.JobResult{}
	}
	runs := func() int {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(raw), "ran\n")
	}
	eventually(t, "an overdue job has run", func() bool { return !result("backup").LastOK.IsZero() && result("prune").Error != "" })
	if j := result("backup"); runs() != 1 || j.Error != "" || !j.Next.After(time.Now().Add(50*time.Minute)) {
		t.Errorf("%d runs, %+v", runs(), j)
	}
	if j := result("prune"); !j.LastOK.IsZero() || !strings.Contains(j.Error, "no such file") || j.Next.After(time.Now().Add(10*time.Minute)) {
		t.Errorf("the failed job: %+v", j)
	}
	t.Run("results outlive the supervisor", func(t *testing.T) {
		before := result("backup")
		if err := e.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
		up(t, e)
		if now := result("backup"); !now.LastOK.Equal(before.LastOK) || runs() != 1 {
			t.Errorf("%d runs, %+v", runs(), now)
		}
	})
	t.Run("a run may be asked for", func(t *testing.T) {
		if err := e.RunJob(t.Context(), "backup"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it has run again", func() bool { return runs() == 2 })
		if err := e.RunJob(t.Context(), "nothing"); err == nil {
			t.Error("a job that does not exist was accepted")
		}
	})
	t.Run("not while the environment is paused", func(t *testing.T) {
		if err := e.Pause(t.Context(), "maintenance"); err != nil {
			t.Fatal(err)
		}
		if err := e.RunJob(t.Context(), "backup"); err != nil {
			t.Fatal(err)
		}
		if got := fetch(t, e, "/version"); !got.refused() || !strings.Contains(got.body, "maintenance") {
			t.Errorf("a paused environment answers %s", got)
		}
		if runs() != 2 {
			t.Error("it ran")
		}
		if err := e.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it has run again", func() bool { return runs() == 3 })
	})
}

func TestNextRun(t *testing.T) {
	began := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	hourly := Job{Name: "hourly", Next: Every(time.Hour)}
	for name, c := range map[string]struct {
		job    Job
		last   job
		jitter float64
		want   time.Time
		never  bool
	}{
		"never before":        {job: hourly, want: time.Time{}.Add(time.Hour)},
		"no jitter":           {job: hourly, last: job{Began: began}, want: began.Add(time.Hour)},
		"jitter":              {job: hourly, last: job{Began: began}, jitter: 0.5, want: began.Add(time.Hour + 30*time.Second)},
		"failed":              {job: hourly, last: job{Began: began, Took: time.Minute, Error: "x"}, want: began.Add(6 * time.Minute)},
		"due before a retry":  {job: Job{Next: Every(time.Minute)}, last: job{Began: began, Error: "x"}, want: began.Add(time.Minute)},
		"switched off":        {job: Job{Next: Every(0)}, last: job{Began: began}, never: true},
		"switched off failed": {job: Job{Next: Every(0)}, last: job{Began: began, Error: "x"}, never: true},
	} {
		t.Run(name, func(t *testing.T) {
			sch := &scheduler{supervisor: &supervisor{jitter: func() float64 { return c.jitter }}}
			next, ok := sch.next(c.job, c.last)
			if ok == c.never || ok && !next.Equal(c.want) {
				t.Errorf("next %v %v, want %v", next, ok, c.want)
			}
		})
	}
}
