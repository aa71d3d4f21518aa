package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// results collect the figures of all rounds.
type results struct {
	options options
	db      *cluster
	plans   plans
	kinds   []*kind
	crowd   crowded
	loads   []string // of the machine, after each round
}

// kind is one thing done in one way.
type kind struct {
	contender
	runs []figures
}

// order is that of the report.
var order = []string{"login", "refresh", "list", "search", "chat stream"}

func (r *results) measureAll(ctx context.Context, contenders []contender) error {
	for _, what := range order {
		for _, c := range contenders {
			if c.what == what && (r.options.only == "" || strings.HasPrefix(what, r.options.only)) {
				r.kinds = append(r.kinds, &kind{contender: c})
			}
		}
	}
	for round := range r.options.rounds {
		for _, k := range r.kinds {
			if k.server != nil && k.server.pprof != "" && r.options.profile != "" {
				go r.keepProfile(k)
			}
			f, err := measure(ctx, k.contender, r.options.workers, r.options.span)
			for again := 0; err != nil && k.name == peerName && again < 2; again++ { // its failures are not what is measured
				log.Printf("%s of %s, round %d: %v; once more", k.what, k.name, round+1, err)
				f, err = measure(ctx, k.contender, r.options.workers, r.options.span)
			}
			if err != nil {
				return fmt.Errorf("%s of %s, round %d: %w", k.what, k.name, round+1, err)
			}
			k.runs = append(k.runs, f)
			log.Printf("round %d of %d: %s of %s: %.0f/s, p50 %s ms, p99 %s ms", round+1, r.options.rounds, k.what, k.name, f.perSecond,
				milliseconds(f.whole.p50), milliseconds(f.whole.p99))
		}
		if text, err := os.ReadFile("/proc/loadavg"); err == nil {
			load, _, _ := strings.Cut(string(text), " ")
			r.loads = append(r.loads, load)
		}
	}
	return nil
}

// keepProfile saves a CPU profile of a run.
func (r *results) keepProfile(k *kind) {
	answer, err := http.Get(fmt.Sprintf("%s?seconds=%d", k.server.pprof, int(r.options.span.Seconds()))) //nolint:noctx // as long as the run
	if err != nil {
		log.Print(err)
		return
	}
	defer answer.Body.Close()
	if err := os.MkdirAll(r.options.profile, 0o755); err != nil {
		log.Print(err)
		return
	}
	f, err := os.Create(filepath.Join(r.options.profile, strings.ReplaceAll(k.what, " ", "-")+".prof"))
	if err == nil {
		_, err = io.Copy(f, answer.Body)
		_ = f.Close()
	}
	if err != nil {
		log.Print(err)
	}
}

func median[T int64 | float64 | time.Duration](runs []figures, of func(figures) T) T {
	values := make([]T, len(runs))
	for i, f := range runs {
		values[i] = of(f)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func (k *kind) perSecond() float64 {
	return median(k.runs, func(f figures) float64 { return f.perSecond })
}

// milliseconds writes a time with three digits.
func milliseconds(d time.Duration) string {
	ms := float64(d.Microseconds()) / 1000
	switch {
	case ms >= 100:
		return fmt.Sprintf("%.0f", ms)
	case ms >= 10:
		return fmt.Sprintf("%.1f", ms)
	}
	return fmt.Sprintf("%.2f", ms)
}

func rate(perSecond float64) string {
	if perSecond < 10 {
		return fmt.Sprintf("%.1f", perSecond)
	}
	return fmt.Sprintf("%.0f", perSecond)
}

func (r *results) table() string {
	var b strings.Builder
	b.WriteString("| | | requests/s | all runs | p50 ms | p95 ms | p99 ms | server's CPU ms/request |\n| --- | --- | ---: | --- | ---: | ---: | ---: | ---: |\n")
	row := func(k *kind, what string, of func(figures) quantiles) {
		var all []string
		for _, f := range k.runs {
			all = append(all, rate(f.perSecond))
		}
		cpu := "–"
		if k.server != nil {
			cpu = milliseconds(median(k.runs, func(f figures) time.Duration { return f.cpu }))
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s |\n", what, k.name, rate(k.perSecond()), strings.Join(all, " "),
			milliseconds(median(k.runs, func(f figures) time.Duration { return of(f).p50 })),
			milliseconds(median(k.runs, func(f figures) time.Duration { return of(f).p95 })),
			milliseconds(median(k.runs, func(f figures) time.Duration { return of(f).p99 })), cpu)
	}
	for _, k := range r.kinds {
		if k.what == "chat stream" {
			row(k, "chat stream, first byte", func(f figures) quantiles { return f.first })
		}
		row(k, k.what, func(f figures) quantiles { return f.whole })
	}
	return b.String()
}

// ratio is how many times as many requests one did as another.
func (r *results) ratio(what, one, other string) float64 {
	rates := map[string]float64{}
	for _, k := range r.kinds {
		if k.what == what {
			rates[k.name] = k.perSecond()
		}
	}
	return rates[one] / rates[other]
}

const (
	begin = "<!-- service: begin, written by go run ./test/bench/service -->\n"
	end   = "<!-- service: end -->\n"
)

// write replaces the section of the report.
func (r *results) write(path string) error {
	old, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	before, rest, found := strings.Cut(string(old), begin)
	after := ""
	if found {
		_, after, _ = strings.Cut(rest, end)
	} else {
		before = strings.TrimRight(before, "\n") + "\n\n"
	}
	return os.WriteFile(path, []byte(before+begin+r.section()+end+after), 0o644)
}

func (r *results) section() string {
	version, _ := exec.Command(r.db.server.Path("postgres"), "--version").Output()
	return fmt.Sprintf(`## The service

One replica of the service and its PostgreSQL on a mailbox of %d messages (and %d other users with %d each), beside PocketBase on the same
messages, and beside the limit: the service's own query through a pool of %d connections like its own, with no service around it.
Measured on %s: %d cores, which the load generator, the service, PostgreSQL and PocketBase share; %s, durable (fsync on); %d connections
that ask again as soon as they are answered, runs of %s after a second to warm up, all contenders interleaved. Figures are medians of the
runs. The machine's load average after each round was %s, the benchmark's own included.

| requests/s | list | search | aim |
| --- | ---: | ---: | ---: |
| service ÷ bare query | %.2f | %.2f | ≥ 0.7 |
| service ÷ bare query that opens the sealed beginnings as well | %.2f | %.2f | |
| service ÷ PocketBase | %.1f | %.1f | > 1 |

| memory at %d connections | | aim |
| --- | ---: | ---: |
| resident, at most | %d MiB | < 150 MiB |

%s
%s
What is done: list is the newest %d messages; search those with a word that is in one of %d, newest first; both with a token, and each
answer is one page with its cursor. Login compares a bcrypt hash of cost 10; the service lets half of the cores do that at a time, so that
reads stay quick, and writes a session and an audit event. Refresh replaces the refresh token in the database (reuse is noticed);
PocketBase signs a new token and stores nothing. The chat stream is an answer without a language model that searches the mailbox. “Bare query”
runs in the load generator, without HTTP, JSON, tokens and decryption: the service opens %d sealed values a page. PocketBase is SQLite in
its own process, with an index for the list (owner, received); its search is the filter subject ~ (LIKE), which has no index and reads on
until its page is full; the service's is a full-text index over sender, subject and text.

Plans: %s. The tables have %d rows of users' data each or more, and each statement that sqlc or the Go code holds was planned for given
parameters and as PostgreSQL plans it once it has run often. An index is used where no such table is read from end to end; each reference
that a deletion follows must have one too.

How to run it: `+"`make bench-service`, or `go run ./test/bench/service`"+` (it needs PostgreSQL's programs, bin/assistd, bin/pocketbase, 8 GB of space and a quiet machine; -h shows what can be chosen).
`, r.options.mails, r.options.users, mailsOfOthers, r.options.pool, time.Now().UTC().Format("2 January 2006"), runtime.NumCPU(),
		strings.TrimSpace(string(version)), r.options.workers, r.options.span, strings.Join(r.loads, " "),
		r.ratio("list", serviceName, bareName), r.ratio("search", serviceName, bareName),
		r.ratio("list", serviceName, openedName), r.ratio("search", serviceName, openedName),
		r.ratio("list", serviceName, peerName), r.ratio("search", serviceName, peerName),
		r.crowd.connections, r.crowd.during>>20, r.table(), r.crowd.text(), pageSize, topics, pageSize, r.plans.summary(), r.options.rows)
}
