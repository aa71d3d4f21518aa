package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// figures are what one run showed.
type figures struct {
	seconds float64
	memory  int64 // bytes, of the largest process
	stored  int64 // bytes
}

// maxRSS is the peak resident memory of a finished process and its children, in bytes.
func maxRSS(state *os.ProcessState) int64 {
	usage, ok := state.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	return usage.Maxrss << 10
}

// results collect the figures of all rounds.
type results struct {
	db    *cluster
	order []string
	runs  map[string][]figures
	loads []float64 // of the machine, after each round
}

func newResults(db *cluster) *results { return &results{db: db, runs: map[string][]figures{}} }

func (r *results) add(name, what string, f figures) {
	key := name + ": " + what
	if r.runs[key] == nil {
		r.order = append(r.order, key)
	}
	r.runs[key] = append(r.runs[key], f)
}

// latest says what the round that ends showed.
func (r *results) latest() string {
	var load float64
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		if _, err := fmt.Sscan(string(text), &load); err == nil {
			r.loads = append(r.loads, load)
		}
	}
	var said []string
	for _, key := range r.order {
		f := r.runs[key][len(r.runs[key])-1]
		said = append(said, fmt.Sprintf("%s %.2f s", key, f.seconds))
	}
	return strings.Join(said, ", ")
}

func median[T int64 | float64](runs []figures, of func(figures) T) T {
	values := make([]T, len(runs))
	for i, f := range runs {
		values[i] = of(f)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func (r *results) seconds(key string) float64 {
	return median(r.runs[key], func(f figures) float64 { return f.seconds })
}

func (r *results) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| | median | all runs | rate | stored | peak memory |\n| --- | ---: | --- | ---: | ---: | ---: |\n")
	for _, key := range r.order {
		runs := r.runs[key]
		var all []string
		for _, f := range runs {
			all = append(all, fmt.Sprintf("%.2f", f.seconds))
		}
		stored, memory := "", "–"
		if n := median(runs, func(f figures) int64 { return f.stored }); n > 0 {
			stored = fmt.Sprintf("%d MB", n/1e6)
		}
		if strings.HasPrefix(key, "assistctl") {
			memory = fmt.Sprintf("%d MiB", slices.MaxFunc(runs, func(a, b figures) int { return int(a.memory - b.memory) }).memory>>20)
		}
		fmt.Fprintf(&b, "| %s | %.2f s | %s | %.0f MB/s | %s | %s |\n", key, r.seconds(key), strings.Join(all, " "), float64(r.db.bytes)/1e6/r.seconds(key), stored, memory)
	}
	return b.String()
}

const (
	begin = "<!-- backup: begin, written by go run ./test/bench/backup -->\n"
	end   = "<!-- backup: end -->\n"
)

// write replaces the section of the report.
func (r *results) write(path string) error {
	ratio := func(what string) float64 { return r.seconds("assistctl: "+what) / r.seconds("pgBackRest: "+what) }
	stored := func(name string) float64 {
		return float64(median(r.runs[name+": backup"], func(f figures) int64 { return f.stored }))
	}
	version := func(program string, args ...string) string {
		out, _ := exec.Command(program, args...).Output()
		return strings.TrimSpace(string(out))
	}
	text := begin + fmt.Sprintf(`## Backup and restore

Base backups of a %.2f GB cluster to an S3 server on the same machine and back, beside pgBackRest on the same server and data.
Measured on %s: %d cores, %s, %s, versitygw over TLS for both; the runs of all contenders are interleaved.
The machine's load average after each round was %s, the benchmark's own included.

| assistctl ÷ pgBackRest | ratio | aim |
| --- | ---: | ---: |
| time of a backup | %.2f | ≤ 0.5 |
| time of a restore | %.2f | ≤ 0.7 |
| stored bytes | %.2f | ≤ 1 |

%s
assistctl: the server compresses (zstd level 1, two workers), age encrypts, parts of 16 MiB, each with its SHA-256; the log that makes
the backup consistent is in it and in its bytes. A restore checks every object's SHA-256 and every file's CRC-32C and ends with the
files on the disk (syncfs). pgBackRest: zstd level 1, two processes, AES-256, bundles; the log that its backups need is archived
separately and is not in its bytes. A restore ends before PostgreSQL is started. pg_basebackup is the floor: the data sent, and thrown away.
The generated rows compress about five times. Peak memory is the process's maximum resident set over all runs.

How to run it: `+"`make bench`, or `go run ./test/bench/backup`"+` (it needs PostgreSQL's programs and pgbackrest, and a quiet machine; -h shows what can be chosen).
`, float64(r.db.bytes)/1e9, time.Now().UTC().Format("2 January 2006"), runtime.NumCPU(), version(r.db.Path("postgres"), "--version"), version("pgbackrest", "version"),
		strings.Trim(fmt.Sprint(r.loads), "[]"), ratio("backup"), ratio("restore"), stored("assistctl")/stored("pgBackRest"), r.table()) + end

	old, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	before, rest, found := strings.Cut(string(old), begin)
	after := ""
	if found {
		_, after, _ = strings.Cut(rest, end)
	} else if before == "" {
		before = "# Benchmarks\n\n"
	} else {
		before = strings.TrimRight(before, "\n") + "\n\n"
	}
	return os.WriteFile(path, []byte(before+text+after), 0o644)
}
