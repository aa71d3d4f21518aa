package local

import (
	"context"
	"fmt"
	"io"

	"github.com/smart-assistant/platform/cli/target"
)

// ExecOn is Exec against another database than the live one: a restored cluster that Try has started. databaseURL holds a password and
// goes to the process by its environment.
func (e *Environment) ExecOn(ctx context.Context, databaseURL string, b target.Build, args []string, stdout, stderr io.Writer) error {
	if err := e.verifyBuild(b); err != nil {
		return fmt.Errorf("run assistd %q of %s: %w", args, b.Version, err)
	}
	return e.exec(ctx, b, nil, map[string]string{"ASSISTD_DATABASE_URL": databaseURL}, args, stdout, stderr)
}
