package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/smart-assistant/platform/test/builds"
	"github.com/smart-assistant/platform/test/load"
)

// exitRolledBack is assistctl's exit status after a promotion that went wrong and was undone.
const exitRolledBack = 10

// config is the demo's own assistctl.yaml: waiting times that suit a story of a minute.
const config = `project: demo
order: [dev, staging, prod]
local:
  data_dir: %s
  versitygw: %s
environments:
  dev:
    replicas: 1
    gates: {verify_window: 2s}
  staging:
    replicas: 1
    gates: {soak: 0s, verify_window: 2s}
  prod:
    replicas: 3
    confirm: true
    gates: {soak: 1s, verify_window: 5s}
`

// stage is where the story is played: a folder that everything lives in.
type stage struct {
	ctx      context.Context
	repo     string   // the work tree
	dir      string   // the stage's own folder
	env      []string // assistctl's environment
	began    time.Time
	load     *load.Runner
	reported load.Report // at the end of the chapter before
	notes    []string    // for the summary
}

// failure ends the story; perform turns it into an error.
type failure struct{ error }

func (s *stage) fail(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

func (s *stage) must(err error, what string) {
	if err != nil {
		s.fail("%s: %w", what, err)
	}
}

// perform sets the stage, plays the story, and clears the stage whatever happened.
func perform(ctx context.Context, story func(*stage)) (err error) {
	s := &stage{ctx: ctx, began: time.Now()}
	defer func() {
		if r := recover(); r != nil {
			f, ok := r.(failure)
			if !ok {
				panic(r)
			}
			err = f.error
		}
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		}
		err = errors.Join(err, s.clear())
		if err == nil {
			s.summary()
		}
	}()
	s.set()
	story(s)
	return nil
}

// foreign are variables that could lead assistctl or PostgreSQL to something that is not the demo's.
var foreign = regexp.MustCompile(`^(ASSISTCTL|ASSISTD|XDG|PG|AWS)`)

// set makes the folder, the configuration and the environment in which assistctl finds only what is the demo's.
func (s *stage) set() {
	var err error
	s.repo, err = os.Getwd()
	s.must(err, "find the work tree")
	s.dir, err = os.MkdirTemp("", "demo-")
	s.must(err, "make a folder for the demo")
	// PostgreSQL refuses to run as root and then runs as a user of its own, who has to get through.
	s.must(os.Chmod(s.dir, 0o711), "open the demo's folder")
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); !foreign.MatchString(name) {
			s.env = append(s.env, variable)
		}
	}
	for _, name := range []string{"CONFIG", "STATE", "DATA", "CACHE"} {
		s.env = append(s.env, "XDG_"+name+"_HOME="+s.path(strings.ToLower(name)))
	}
	s.must(os.WriteFile(s.path("assistctl.yaml"), fmt.Appendf(nil, config, s.path("data"), filepath.Join(s.repo, "bin", "versitygw")), 0o600),
		"write the demo's assistctl.yaml")
}

func (s *stage) path(name string) string { return filepath.Join(s.dir, name) }

// bin is where assistctl, or the service of that version, is built to.
func (s *stage) bin(name string) string {
	if name == "assistctl" {
		return filepath.Join(s.repo, "bin", name)
	}
	return s.path("assistd-" + name)
}

// build builds one of the repository's programs.
func (s *stage) build(name, pkg string) {
	took := s.run(s.command("go", "build", "-trimpath", "-o", s.bin(name), pkg))
	s.ok("%s built in %.1f s", name, took.Seconds())
}

// release builds the service as it was, is, or must not become; the differences are overlays of single files.
func (s *stage) release(variant, version string) {
	start := time.Now()
	s.must(builds.Build(s.ctx, variant, version, s.bin(version)), "build "+version)
	s.ok("%s built in %.1f s", version, time.Since(start).Seconds())
}

// assistctl types a command, as the user would, and returns how long it took. It has no terminal to ask on.
func (s *stage) assistctl(args ...string) time.Duration { return s.run(s.typed(args)) }

// soak lets the release run in staging for as long as prod's gate wants.
func (s *stage) soak() {
	s.say("prod's gate wants a release to have run in staging for a second: waiting")
	select {
	case <-time.After(time.Second):
	case <-s.ctx.Done():
	}
}

// refused types a command that must end with the given exit status, and returns how long it took.
func (s *stage) refused(status int, args ...string) time.Duration {
	cmd, start := s.typed(args), time.Now()
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		s.fail("assistctl %s: %w", args[0], err)
	}
	s.expect(cmd.ProcessState.ExitCode() == status, "exit status %d", cmd.ProcessState.ExitCode())
	return time.Since(start)
}

// typed prepares an assistctl command and shows it; in the stage's folder it finds the stage's configuration.
func (s *stage) typed(args []string) *exec.Cmd {
	fmt.Printf("\n$ assistctl %s\n", strings.Join(args, " "))
	cmd := s.command(s.bin("assistctl"), args...)
	cmd.Dir, cmd.Env = s.dir, s.env
	return cmd
}

// ask runs an assistctl command that shows something and decodes its JSON.
func (s *stage) ask(into any, args ...string) {
	cmd := s.command(s.bin("assistctl"), append(args, "--json")...)
	cmd.Dir, cmd.Env, cmd.Stdout = s.dir, s.env, nil
	out, err := cmd.Output()
	s.must(err, "assistctl "+strings.Join(args, " "))
	s.must(json.Unmarshal(out, into), "read the answer of assistctl "+strings.Join(args, " "))
}

// command prepares a program that writes to where the demo writes.
func (s *stage) command(program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.ctx, program, args...)
	cmd.Dir = s.repo
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	return cmd
}

func (s *stage) run(cmd *exec.Cmd) time.Duration {
	start := time.Now()
	s.must(cmd.Run(), filepath.Base(cmd.Path)+" "+strings.Join(cmd.Args[1:], " "))
	return time.Since(start)
}

func (s *stage) chapter(title string) { fmt.Printf("\n━━ %s\n", title) }

func (s *stage) say(text string) { fmt.Printf("   %s\n", text) }

func (s *stage) ok(format string, args ...any) { fmt.Printf("   ✓ "+format+"\n", args...) }

// expect prints what was found, with a tick, or ends the story.
func (s *stage) expect(holds bool, format string, args ...any) {
	if !holds {
		s.fail("not as expected: "+format, args...)
	}
	s.ok(format, args...)
}

// note keeps a measurement for the summary.
func (s *stage) note(what, format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf("%-18s %s", what, fmt.Sprintf(format, args...)))
}
