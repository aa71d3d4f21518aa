package work_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"

	"github.com/smart-assistant/platform/service/work"
	"github.com/smart-assistant/platform/test/database"
)

// task is a job that ends as its argument says.
type task struct{ End string }

func (task) Kind() string { return "task" }

type worker struct {
	river.WorkerDefaults[task]
	waits chan struct{} // closed once a task waits for the end of its replica
}

func (w *worker) Work(ctx context.Context, job *river.Job[task]) error {
	switch job.Args.End {
	case "fail":
		return errors.New("failed")
	case "panic":
		panic("failed")
	case "cancel":
		return river.JobCancel(errors.New("no use"))
	case "snooze":
		return river.JobSnooze(time.Hour)
	case "wait":
		close(w.waits)
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

// TestAttemptsAreCounted: each attempt counts by how it ended, and jobs that were given up can be seen.
func TestAttemptsAreCounted(t *testing.T) {
	server := database.Start(t)
	queue := work.New(work.Config{Pool: server.Pool(t), Log: slog.New(slog.DiscardHandler), Drain: time.Millisecond})
	w := &worker{waits: make(chan struct{})}
	work.Add(queue, w)
	registry := prometheus.NewPedanticRegistry()
	if err := errors.Join(queue.Build(), registry.Register(queue.Collector()), queue.Start(t.Context())); err != nil {
		t.Fatal(err)
	}
	for _, job := range []struct {
		end      string
		attempts int
	}{{"well", 1}, {"well", 1}, {"fail", 5}, {"fail", 1}, {"panic", 1}, {"cancel", 5}, {"snooze", 1}, {"wait", 5}} {
		if err := queue.Insert(t.Context(), nil, task{job.end}, &river.InsertOpts{Queue: work.Mail, MaxAttempts: job.attempts}); err != nil {
			t.Fatal(err)
		}
	}
	<-w.waits
	want := map[string]float64{"cancelled": 1, "discarded": 2, "failed": 1, "interrupted": 0, "ok": 2, "snoozed": 1}
	for deadline := time.Now().Add(30 * time.Second); !maps.Equal(attempts(t, registry, work.Mail), want); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("attempts %v, want %v", attempts(t, registry, work.Mail), want)
		}
	}
	for result, n := range attempts(t, registry, work.Jobs) {
		if n != 0 {
			t.Errorf("%v attempts at another queue are %s", n, result)
		}
	}
	lengths, err := queue.Lengths(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lengths {
		want, fixed := map[string]int64{"discarded": 2, "running": 1, "scheduled": 1}[l.State] // what failed is retryable or, soon, available
		if l.Queue == work.Mail && fixed && l.Jobs != want {
			t.Errorf("%d jobs are %s, want %d", l.Jobs, l.State, want)
		}
	}
	if err := queue.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// attempts are what the counter says of a queue, by result.
func attempts(t *testing.T, from prometheus.Gatherer, queue string) map[string]float64 {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if labels := metric.GetLabel(); family.GetName() == "assistd_queue_attempts_total" && labels[0].GetValue() == queue {
				found[labels[1].GetValue()] = metric.GetCounter().GetValue()
			}
		}
	}
	return found
}
