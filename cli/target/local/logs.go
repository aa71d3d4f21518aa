package local

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/target"
)

// logFile is the log of a component or replica: log/<name>.log or log/<name>@<version>.log, and its predecessor with ".1" appended.
type logFile struct {
	path, name, version string
}

func (e *Environment) logFiles() ([]logFile, error) {
	paths, err := filepath.Glob(e.path("log", "*.log"))
	if err != nil {
		return nil, err
	}
	var files []logFile
	for _, path := range paths {
		name, version, _ := strings.Cut(strings.TrimSuffix(filepath.Base(path), ".log"), "@")
		files = append(files, logFile{path, name, version})
	}
	return files, nil
}

func (f logFile) selected(q target.LogQuery) bool {
	if q.Release != "" && f.version != strings.ReplaceAll(q.Release, "/", "_") {
		return false
	}
	return q.Component == "" || q.Component == f.name || q.Component == "replicas" && f.version != ""
}

// logLine is a line with the time that it, or the last line before it that had one, was written.
type logLine struct {
	at   time.Time
	from string
	text string
}

// Logs implements target.Target. When more than one component is selected, each line starts with its component's name. The
// environment need not be up.
func (e *Environment) Logs(ctx context.Context, q target.LogQuery, w io.Writer) error {
	files, err := e.logFiles()
	if err != nil {
		return fmt.Errorf("logs of %s: %w", e.Name(), err)
	}
	files = slices.DeleteFunc(files, func(f logFile) bool { return !f.selected(q) })
	if len(files) == 0 && !q.Follow {
		return fault.Code(fault.Hint(fmt.Errorf("logs of %s: nothing was logged that fits", e.Name()), "assistctl local logs "+e.Name()), fault.NotFound)
	}
	alone := q.Component != "" && q.Component != "replicas"
	out := func(l logLine) error {
		if !alone {
			l.text = l.from + " | " + l.text
		}
		_, err := io.WriteString(w, l.text+"\n")
		return err
	}
	read := map[string]int64{}
	var lines []logLine
	for _, f := range files {
		some, size, err := f.read(q)
		if err != nil {
			return fmt.Errorf("logs of %s: %w", e.Name(), err)
		}
		read[f.path] = size
		lines = append(lines, some...)
	}
	slices.SortStableFunc(lines, func(a, b logLine) int { return a.at.Compare(b.at) })
	for _, l := range lines {
		if err := out(l); err != nil {
			return err
		}
	}
	if !q.Follow {
		return nil
	}
	return e.follow(ctx, q, read, out)
}

// read returns the file's lines, those of its predecessor first, and where in the file it stopped reading.
func (f logFile) read(q target.LogQuery) (lines []logLine, size int64, err error) {
	var at time.Time
	for _, path := range []string{f.path + ".1", f.path} {
		raw, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		size = int64(bytes.LastIndexByte(raw, '\n') + 1) // a line that is being written is for later
		for text := range strings.Lines(string(raw[:size])) {
			if t, ok := timeOf(text); ok {
				at = t
			}
			if q.Since.IsZero() || !at.Before(q.Since) {
				lines = append(lines, logLine{at, f.name, strings.TrimSuffix(text, "\n")})
			}
		}
	}
	if q.Tail > 0 && len(lines) > q.Tail {
		lines = lines[len(lines)-q.Tail:]
	}
	return lines, size, nil
}

// follow writes what is appended, also to files that appear, until ctx ends.
func (e *Environment) follow(ctx context.Context, q target.LogQuery, read map[string]int64, out func(logLine) error) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		files, err := e.logFiles()
		if err != nil {
			return err
		}
		for _, f := range files {
			if !f.selected(q) {
				continue
			}
			if read[f.path], err = f.appended(read[f.path], out); err != nil {
				return fmt.Errorf("logs of %s: %w", e.Name(), err)
			}
		}
	}
}

func (f logFile) appended(from int64, out func(logLine) error) (int64, error) {
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return from, err
	}
	defer file.Close() //nolint:errcheck // only read
	info, err := file.Stat()
	if err != nil {
		return from, err
	}
	if info.Size() < from { // rotated
		from = 0
	}
	if _, err := file.Seek(from, io.SeekStart); err != nil {
		return from, err
	}
	for lines := bufio.NewReader(file); ; {
		text, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return from, nil
		}
		if err != nil {
			return from, err
		}
		from += int64(len(text))
		if err := out(logLine{from: f.name, text: strings.TrimSuffix(text, "\n")}); err != nil {
			return from, err
		}
	}
}

var (
	jsonTime     = regexp.MustCompile(`"time":"([^"]+)"`)
	postgresTime = regexp.MustCompile(`^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) (?:UTC|GMT)`)
)

// timeOf finds the time in a line of slog's JSON, or of PostgreSQL's default log_line_prefix.
func timeOf(text string) (time.Time, bool) {
	if m := jsonTime.FindStringSubmatch(text); m != nil {
		t, err := time.Parse(time.RFC3339Nano, m[1])
		return t, err == nil
	}
	if m := postgresTime.FindStringSubmatch(text); m != nil {
		t, err := time.Parse("2006-01-02 15:04:05.999", m[1])
		return t, err == nil
	}
	return time.Time{}, false
}

// lastLines returns the last n lines of a file.
func lastLines(path string, n int) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	const most = 64 << 10
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		if _, err := f.Seek(max(size-most, 0), io.SeekStart); err != nil {
			return nil, err
		}
	}
	raw, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimRight(string(raw), "\n"), "\n")
	return lines[max(len(lines)-n, 0):], nil
}

const (
	rotateEvery     = 5 * time.Second
	keptReplicaLogs = 30 // of replicas that are gone
)

// rotateLogs keeps the log folder small until ctx ends.
func (s *supervisor) rotateLogs(ctx context.Context) {
	tick := time.NewTicker(rotateEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := s.rotateOnce(); err != nil {
			s.log.Error("log rotation failed", "error", err)
		}
	}
}

func (s *supervisor) rotateOnce() error {
	files, err := s.env.logFiles()
	if err != nil {
		return err
	}
	for _, f := range files {
		if info, err := os.Stat(f.path); err == nil && info.Size() > s.env.config.LogBytes {
			if err := rotate(f.path); err != nil {
				return err
			}
		}
	}
	return s.dropOldLogs(files)
}

// rotate copies the log and empties it in place: its writer has it open for appending. What is written between the two is lost, as
// with logrotate's copytruncate.
func rotate(path string) error {
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close() //nolint:errcheck // only read
	to, err := os.OpenFile(path+".1.new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	if err := errors.Join(err, to.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".1.new", path+".1"); err != nil {
		return err
	}
	return os.Truncate(path, 0)
}

// dropOldLogs deletes the oldest logs of replicas that are gone.
func (s *supervisor) dropOldLogs(files []logFile) error {
	alive := map[string]bool{}
	for _, r := range s.fleet() {
		alive[r.name] = true
	}
	type aged struct {
		logFile
		written time.Time
	}
	var gone []aged
	for _, f := range files {
		if info, err := os.Stat(f.path); err == nil && f.version != "" && !alive[f.name] {
			gone = append(gone, aged{f, info.ModTime()})
		}
	}
	slices.SortFunc(gone, func(a, b aged) int { return cmp.Compare(b.written.UnixNano(), a.written.UnixNano()) })
	for _, f := range gone[min(len(gone), keptReplicaLogs):] {
		for _, path := range []string{f.path, f.path + ".1"} {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}
