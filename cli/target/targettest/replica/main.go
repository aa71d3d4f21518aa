// Command replica is the smallest service that a target can run: the endpoints and verbs of assistd that a target relies on, and some by
// which a test sees inside. Its version and its fault stand at the end of its file: builds of it differ as real ones do, and are made by
// one run of the compiler.
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
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
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
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("usage: replica serve|smoke|version|print|exit")
	}
	switch args[0] {
	case "serve":
		return serve()
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
		fmt.Fprintln(os.Stderr, "as asked")
		os.Exit(code)
	case "sleep":
		fmt.Println("sleeping")
		time.Sleep(time.Minute)
	}
	return fmt.Errorf("unknown verb %q", args[0])
}

func database(ctx context.Context) (name string, err error) {
	url, err := os.ReadFile(os.Getenv("ASSISTD_DATABASE_URL_FILE"))
	if err != nil {
		return "", err
	}
	conn, err := pgx.Connect(ctx, strings.TrimSpace(string(url)))
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
	server := &http.Server{Addr: os.Getenv("ASSISTD_LISTEN"), Handler: routes(), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	log.Info("replica drains")
	drain, stop := context.WithTimeout(context.Background(), 5*time.Second)
	defer stop()
	return server.Shutdown(drain)
}

func routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/ready", func(w http.ResponseWriter, r *http.Request) {
		if fault == "unready" || fault == "even-unready" && isEven(os.Getenv("ASSISTD_REPLICA")) {
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

func isEven(name string) bool {
	n, err := strconv.Atoi(name[strings.LastIndexByte(name, '-')+1:])
	return err == nil && n%2 == 0
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
