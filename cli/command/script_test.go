package command

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The scripts in testdata/script run this very package as assistctl, in a process of its own: what they see is what a person sees.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"assistctl": func() { os.Exit(Main(Build{Version: "v0.0.0-test", Commit: "0123456789abcdef"})) },
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir+"/home")
			env.Setenv("XDG_DATA_HOME", env.WorkDir+"/data")
			return nil
		},
		Cmds:                map[string]func(ts *testscript.TestScript, neg bool, args []string){"exits": exits},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}
