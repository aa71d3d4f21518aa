package command

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/migrate"
	"github.com/smart-assistant/platform/cli/release"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/terminal"
)

type driftOptions struct {
	app *App
	env string
}

func newCmdDrift(app *App, runF func(context.Context, *driftOptions) error) *cobra.Command {
	o := &driftOptions{app: app}
	return &cobra.Command{
		Use:     "drift <environment>",
		Short:   "Compare what an environment is with what was released and declared",
		GroupID: groupEnvironment,
		Long: `Compare an environment with what it should be: its replicas with the ledger's release, their settings with the release's, the database with the
release's migrations, and, on Kubernetes, the cluster with what the stack's last update left there, and that with the stack's program. Nothing
is changed. Exit status 12 when something differs.`,
		Example: "  assistctl drift prod\n  assistctl drift prod --json",
		Args:    exactArgs(1, "drift takes one environment, as in: assistctl drift prod"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.env = args[0]
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runDrift(cmd.Context(), o)
		},
	}
}

// difference is one thing that is not as it was released or declared.
type difference struct {
	What   string `json:"what"` // release, settings, schema, cluster, program
	Detail string `json:"detail"`
}

// declared is a site whose infrastructure a program declares.
type declared interface {
	// drift is what somebody changed in the cluster since the last update, and pending what the program says now and did not then.
	drift(ctx context.Context) ([]release.Change, error)
	pending(ctx context.Context) ([]release.Change, error)
}

func runDrift(ctx context.Context, o *driftOptions) error {
	env, err := o.app.named(ctx, o.env)
	if err != nil {
		return err
	}
	found, checked, err := env.differences(ctx)
	if err != nil {
		return err
	}
	if o.app.JSON {
		err = o.app.printJSON(append([]difference{}, found...))
	} else {
		t := terminal.NewTable()
		for _, what := range checked {
			same := true
			for _, d := range found {
				if d.What == what {
					t.Row(terminal.Mark(false), what, d.Detail)
					same = false
				}
			}
			if same {
				t.Row(terminal.Mark(true), what, "as it should be")
			}
		}
		err = o.app.showTable(t)
	}
	if err == nil && len(found) > 0 {
		err = fault.Code(fmt.Errorf("%s of %s", terminal.Plural(int64(len(found)), "difference"), o.env), fault.Drift)
		if slices.ContainsFunc(found, func(d difference) bool { return d.What == "cluster" || d.What == "program" }) {
			err = fault.Hint(err, env.site.wayUp()+" --refresh      # makes the cluster what the program says")
		}
	}
	return err
}

// differences compares everything and says what it compared.
func (e *environment) differences(ctx context.Context) (found []difference, checked []string, err error) {
	status, err := e.site.Status(ctx)
	if err != nil {
		return nil, nil, err
	}
	state, err := release.StateOf(ctx, e.ledger)
	if err != nil {
		return nil, nil, err
	}
	if state.Release != "" {
		m, err := e.release.Releases.Get(ctx, state.Release)
		if err != nil {
			return nil, nil, err
		}
		if err := e.install(ctx, m); err != nil {
			return nil, nil, err
		}
		checked = append(checked, "release", "settings", "schema")
		for _, compare := range []func(context.Context, target.Status, release.Manifest) ([]difference, error){
			e.compareReplicas, e.compareSettings, e.compareSchema,
		} {
			more, err := compare(ctx, status, m)
			if err != nil {
				return nil, nil, err
			}
			found = append(found, more...)
		}
	}
	if d, ok := e.site.(declared); ok {
		checked = append(checked, "cluster", "program")
		changed, err := d.drift(ctx)
		if err != nil {
			return nil, nil, err
		}
		for _, c := range changed {
			found = append(found, difference{"cluster", changedPast(c)})
		}
		if changed, err = d.pending(ctx); err != nil {
			return nil, nil, err
		}
		for _, c := range changed {
			found = append(found, difference{"program", c.String() + " is not applied"})
		}
	}
	return found, checked, nil
}

// changedPast says what somebody changed past the program; a change of what the last update noted is one of the cluster.
func changedPast(c release.Change) string {
	was := "was changed"
	if c.Operation == "delete" {
		was = "is gone"
	} else if len(c.Properties) > 0 {
		was += ": " + strings.Join(c.Properties, ", ")
	}
	return c.Kind + " " + c.Name + " " + was
}

// compareReplicas looks at what really runs, not at what it calls itself.
func (e *environment) compareReplicas(_ context.Context, s target.Status, m release.Manifest) (found []difference, err error) {
	d, err := e.site.deployment(m)
	if err != nil {
		return nil, err
	}
	for _, r := range s.Replicas {
		if r.Build.SHA256 != d.Build.SHA256 {
			found = append(found, difference{"release", fmt.Sprintf("%s runs %s (%.12s), the ledger says %s (%.12s)", r.Name, r.Build.Version, r.Build.SHA256, m.Version, d.Build.SHA256)})
		}
	}
	if len(s.Replicas) == 0 {
		found = append(found, difference{"release", fmt.Sprintf("nothing runs, the ledger says %s", m.Version)})
	}
	return found, nil
}

func (e *environment) compareSettings(ctx context.Context, s target.Status, m release.Manifest) (found []difference, err error) {
	want, err := e.site.settings(ctx, m)
	if err != nil || len(s.Replicas) == 0 {
		return nil, err
	}
	names := maps.Clone(want)
	maps.Copy(names, s.Settings)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if s.Settings[name] != want[name] { // a setting is no secret: those are files
			found = append(found, difference{"settings", fmt.Sprintf("%s is %q, released as %q", name, s.Settings[name], want[name])})
		}
	}
	return found, nil
}

func (e *environment) compareSchema(ctx context.Context, _ target.Status, m release.Manifest) (found []difference, err error) {
	status, err := migrate.Status(ctx, e.runner(m))
	if err != nil {
		return nil, err
	}
	for _, d := range append(status.Drift, otherDrift(status.Drift, migrate.Drift(m.Schema, status.Applied))...) {
		found = append(found, difference{"schema", d.String()})
	}
	for _, p := range status.Pending {
		found = append(found, difference{"schema", title(p) + " is not applied"})
	}
	return found, nil
}
