package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clear ends what the story started and removes its folder, also after a failure or Ctrl-C.
func (s *stage) clear() error {
	if s.load != nil {
		s.load.Stop()
	}
	if s.dir == "" {
		return nil
	}
	err := s.down()
	if left := s.processes(); len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("these processes were left behind: %s", strings.Join(left, "; ")))
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// down ends all environments. After a story that went well it finds nothing to do.
func (s *stage) down() error {
	if _, err := os.Stat(s.bin("assistctl")); err != nil {
		return nil // not even built
	}
	if _, err := os.Stat(s.path("data")); err != nil {
		return nil // nothing was started
	}
	// The story's context may have ended; this has a time of its own.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.bin("assistctl"), "local", "down")
	cmd.Dir, cmd.Env = s.dir, s.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("assistctl local down: %w\n%s", err, out)
	}
	return nil
}

// processes lists those that still have to do with the stage's folder: by command line, environment, program or folder.
func (s *stage) processes() []string {
	dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well-formed
	var left []string
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() {
			continue
		}
		cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		environ, _ := os.ReadFile(filepath.Join(dir, "environ"))
		cwd, _ := os.Readlink(filepath.Join(dir, "cwd"))
		exe, _ := os.Readlink(filepath.Join(dir, "exe"))
		if bytes.Contains(cmdline, []byte(s.dir)) || bytes.Contains(environ, []byte(s.dir)) ||
			strings.HasPrefix(cwd, s.dir) || strings.HasPrefix(exe, s.dir) {
			left = append(left, fmt.Sprintf("%d %s", pid, bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})))
		}
	}
	return left
}

// summary says what was measured; it is only printed when everything held.
func (s *stage) summary() {
	fmt.Printf("\n━━ Measured\n")
	s.note("all of it", "%.0f s; no process and no file left behind", time.Since(s.began).Seconds())
	for _, note := range s.notes {
		fmt.Printf("   %s\n", note)
	}
}
