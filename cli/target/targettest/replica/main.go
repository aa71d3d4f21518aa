// Command replica is the smallest service that a target can run: the endpoints and verbs of assistd that a target relies on, and some by
// which a test sees inside. Its version and its fault stand at the end of its file: builds of it differ as real ones do, and are made by
// one run of the compiler. They run as processes and, packed as images of assistd, in pods.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/telemetry"
)

var version, fault string // fault: none, exits, unready, even-unready, fails-smoke

// trailer reads the line that targettest has appended to the program.
func trailer() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(self)
	if err != nil {
		return err
	}
	_, err = fmt.Sscanf(string(raw[bytes.LastIndexByte(raw, '\n')+1:]), "replica %s %s", &version, &fault)
	return err
}

func main() {
	if err := trailer(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := run(os.Args[1:]); err != nil {
		complain(err)
		os.Exit(1)
	}
}

// complain says why the process ends, where assistd says it.
func complain(a any) {
	if path := os.Getenv("ASSISTD_ERROR_FILE"); path != "" && os.WriteFile(path, fmt.Appendln(nil, a), 0o600) == nil {
		return
	}
	fmt.Fprintln(os.Stderr, a)
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("usage: replica serve|health|smoke|version|print|exit|sleep")
	}
	switch args[0] {
	case "serve":
		return serve()
	case "health":
		return health(slices.Contains(args, "--ready"))
	case "smoke":
		return smoke(args[len(args)-1])
	case "version":
		return json.NewEncoder(os.Stdout).Encode(map[string]string{"version": version})
	case "print": // the value of an environment variable, after asking the database its name
		name, err := database(context.Background())
		if err != nil {
			return err
		}
		fmt.Println(name, os.Getenv(args[1]))
		return nil
	case "exit":
		code, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		complain("as asked")
		os.Exit(code)
	case "sleep":
		fmt.Println("sleeping")
		time.Sleep(time.Minute)
	}
	return fmt.Errorf("unknown verb %q", args[0])
}

func connect(ctx context.Context) (*pgx.Conn, error) {
	url, err := os.ReadFile(os.Getenv("ASSISTD_DATABASE_URL_FILE"))
	if err != nil {
		return nil, err
	}
	return pgx.Connect(ctx, strings.TrimSpace(string(url)))
}

func database(ctx context.Context) (name string, err error) {
	conn, err := connect(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx) //nolint:errcheck // nothing hangs on it
	err = conn.QueryRow(ctx, "SELECT current_database()").Scan(&name)
	return name, err
}

func serve() error {
	if fault == "exits" {
		return errors.New("this build always ends at once")
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	log.Info("replica serves", "version", version, "replica", os.Getenv("ASSISTD_REPLICA"))
	traffic := telemetry.NewTraffic(time.Now())
	server := &http.Server{Addr: os.Getenv("ASSISTD_LISTEN"), Handler: counted(traffic, routes()), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 2)
	go func() { failed <- server.ListenAndServe() }()
	if address := os.Getenv("ASSISTD_METRICS_LISTEN"); address != "" {
		mux := http.NewServeMux()
		mux.Handle(telemetry.TrafficPath, traffic.Handler(version, os.Getenv("ASSISTD_REPLICA"), time.Now))
		go func() { failed <- http.ListenAndServe(address, mux) }() //nolint:gosec // asked by the tests alone
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	log.Info("replica drains")
	delay, _ := time.ParseDuration(os.Getenv("ASSISTD_DRAIN_DELAY")) // none when it is not set
	time.Sleep(delay)
	drain, stop := context.WithTimeout(context.Background(), 5*time.Second)
	defer stop()
	return server.Shutdown(drain)
}

// health is how a container runtime or a probe asks by running a command.
func health(ready bool) error {
	path := "/health"
	if ready {
		path = "/ready"
	}
	answer, err := http.Get("http://" + os.Getenv("ASSISTD_LISTEN") + path) //nolint:noctx // a test's
	if err != nil {
		return err
	}
	defer answer.Body.Close() //nolint:errcheck // only read
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", path, answer.Status)
	}
	return nil
}

// counted counts what is answered, as assistd does.
func counted(traffic *telemetry.Traffic, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		answer := &answer{ResponseWriter: w, status: http.StatusOK}
		completed := false
		defer func() {
			if !completed {
				answer.status = telemetry.BrokenOff
			}
			if !telemetry.IsProbe(r.URL.Path) {
				traffic.Record(time.Now(), telemetry.Request{Release: version, Method: r.Method, Path: r.URL.Path, Status: answer.status, Took: time.Since(began)})
			}
		}()
		next.ServeHTTP(answer, r)
		completed = true
	})
}

type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

func routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/ready", func(w http.ResponseWriter, r *http.Request) {
		if fault == "unready" || fault == "even-unready" && !hasTurn(r.Context()) {
			http.Error(w, "this build is never ready", http.StatusServiceUnavailable)
		} else if _, err := database(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/version", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"version": version, "replica": os.Getenv("ASSISTD_REPLICA")})
	})
	mux.HandleFunc("/setting", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, os.Getenv(r.URL.Query().Get("name")))
	})
	mux.HandleFunc("/fail", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "as asked", http.StatusInternalServerError)
	})
	var busy atomic.Int64
	mux.HandleFunc("/busy", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, busy.Load()) })
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		busy.Add(1)
		defer busy.Add(-1)
		d, _ := time.ParseDuration(r.URL.Query().Get("for"))
		time.Sleep(d)
		fmt.Fprint(w, "done")
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, _ = w.Write(body)
	})
	mux.HandleFunc("/headers", func(w http.ResponseWriter, r *http.Request) { _ = json.NewEncoder(w).Encode(r.Header) })
	mux.HandleFunc("/stream", func(w http.ResponseWriter, _ *http.Request) {
		for i := range 3 {
			fmt.Fprintln(w, i)
			_ = http.NewResponseController(w).Flush()
			time.Sleep(50 * time.Millisecond)
		}
	})
	mux.HandleFunc("/break", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	return mux
}

// hasTurn lets half of the replicas be ready: those with an odd number. Pods have no number: of them, the one that holds a lock.
func hasTurn(ctx context.Context) bool {
	name := os.Getenv("ASSISTD_REPLICA")
	if n, err := strconv.Atoi(name[strings.LastIndexByte(name, '-')+1:]); err == nil && n < 10_000 { // a pod's five characters may all be digits
		return n%2 == 1
	}
	turn.Lock()
	defer turn.Unlock()
	if turn.conn == nil {
		conn, err := connect(ctx)
		if err != nil {
			return false
		}
		turn.conn = conn
	}
	// Who has it gets it again.
	if err := turn.conn.QueryRow(ctx, "SELECT pg_try_advisory_lock(6503)").Scan(&turn.mine); err != nil {
		turn.conn, turn.mine = nil, false
	}
	return turn.mine
}

var turn struct {
	sync.Mutex
	conn *pgx.Conn // keeps the lock as long as the process lives
	mine bool
}

func smoke(url string) error {
	if fault == "fails-smoke" {
		return errors.New("read profile: got 500, want 200")
	}
	answer, err := http.Get(url + "/version") //nolint:noctx // a test's
	if err != nil {
		return err
	}
	defer answer.Body.Close() //nolint:errcheck // only read
	var said map[string]string
	if err := json.NewDecoder(answer.Body).Decode(&said); err != nil {
		return err
	}
	if said["version"] != version {
		return fmt.Errorf("the replica runs %s, want %s", said["version"], version)
	}
	return nil
}
