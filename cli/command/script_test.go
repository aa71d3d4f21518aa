package command

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
	"github.com/smart-assistant/platform/cli/terminal"
)

// The scripts in testdata/script run this very package as assistctl, in a process of its own: what they see is what a person sees.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"assistctl": func() { os.Exit(Main(Build{Version: "v0.0.0-test", Commit: "0123456789abcdef"})) },
	})
}

func TestScripts(t *testing.T) {
	versitygw := os.Getenv("ASSISTCTL_VERSITYGW")
	if versitygw == "" {
		var err error
		if versitygw, err = filepath.Abs("../../bin/versitygw"); err != nil {
			t.Fatal(err)
		}
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, "home")
			env.Vars = append(env.Vars,
				"HOME="+home,
				"ASSISTCTL_VERSITYGW="+versitygw,
				"ASSISTCTL_POSTGRES_BIN="+os.Getenv("ASSISTCTL_POSTGRES_BIN"),
				"ASSISTCTL_LOCAL_DATA_DIR="+postgrestest.Dir(t),
				"ASSISTCTL_LOCAL_POSTGRES_SETTINGS_FSYNC=off")
			env.Defer(func() { takeDown(t, env.WorkDir, env.Vars) })
			return nil
		},
		Cmds:                map[string]func(ts *testscript.TestScript, neg bool, args []string){"exits": exits},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// takeDown ends what a script that failed has left running.
func takeDown(t *testing.T, dir string, environ []string) {
	io, _, errOut := terminal.Test(terminal.TestOptions{})
	app := &App{IO: io, Now: time.Now, Dir: dir, Environ: environ, Home: filepath.Join(dir, "home"), Root: os.Geteuid() == 0}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if code := app.Run(ctx, []string{"--config", os.DevNull, "local", "down"}); code != 0 {
		t.Errorf("take the script's environments down: exit %d\n%s", code, errOut)
	}
}
