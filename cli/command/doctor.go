package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/config"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/objectstore/versitygw"
	"github.com/smart-assistant/platform/cli/postgres"
	"github.com/smart-assistant/platform/cli/release"
	"github.com/smart-assistant/platform/cli/terminal"
)

type doctorOptions struct{ app *App }

func newCmdDoctor(app *App, runF func(context.Context, *doctorOptions) error) *cobra.Command {
	o := &doctorOptions{app: app}
	return &cobra.Command{
		Use:     "doctor",
		Short:   "Check everything that assistctl depends on, and say what to do about what is wrong",
		GroupID: groupEnvironment,
		Example: "  assistctl doctor",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runDoctor(cmd.Context(), o)
		},
	}
}

// finding is the answer to one question of the doctor.
type finding struct {
	Where  string `json:"where"`
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Next   string `json:"next,omitempty"`
}

func runDoctor(ctx context.Context, o *doctorOptions) error {
	cfg, err := o.app.Config()
	if err != nil {
		return err
	}
	findings := o.machine(ctx, cfg)
	for _, name := range cfg.Order {
		findings = append(findings, o.environment(ctx, cfg, name)...)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	bad := 0
	t := terminal.NewTable()
	for _, f := range findings {
		detail := f.Detail
		if !f.OK {
			bad++
			if f.Next != "" {
				detail += "   → " + f.Next
			}
		}
		t.Row(terminal.Mark(f.OK), f.Where, f.Check, detail)
	}
	if o.app.JSON {
		err = o.app.printJSON(findings)
	} else {
		err = o.app.showTable(t)
	}
	if err == nil && bad > 0 {
		err = fmt.Errorf("%s found", terminal.Plural(int64(bad), "problem"))
	}
	return err
}

// answer makes a finding of a check: its detail, or its error with the error's own hint.
func answer(where, check string, do func() (string, error)) finding {
	detail, err := do()
	if err == nil {
		return finding{Where: where, Check: check, OK: true, Detail: detail}
	}
	return finding{Where: where, Check: check, Detail: err.Error(), Next: fault.HintOf(err)}
}

// machine checks what the environments of the configuration need on this machine.
func (o *doctorOptions) machine(ctx context.Context, cfg *config.Config) []finding {
	const here = "this machine"
	kinds := map[string]bool{}
	for _, env := range cfg.Environments {
		kinds[env.Target] = true
	}
	found := []finding{answer(here, "configuration", func() (string, error) {
		if cfg.File == "" {
			return "no file: the defaults hold", nil
		}
		return cfg.File, nil
	})}
	if kinds[config.TargetLocal] {
		found = append(found,
			answer(here, "PostgreSQL server", func() (string, error) {
				found, err := postgres.Find(cfg.Local.PostgresBin)
				return fmt.Sprintf("version %d in %s", found.Major, found.Dir), err
			}),
			answer(here, "S3 server", func() (string, error) { return versitygw.Find(cfg.Local.VersityGW) }))
	}
	if kinds[config.TargetKubernetes] {
		found = append(found, answer(here, "Pulumi", func() (string, error) { return pulumiVersion(ctx, cfg) }))
	}
	return append(found,
		answer(here, "Go, to build releases", func() (string, error) {
			out, err := exec.CommandContext(ctx, "go", "env", "GOVERSION").Output()
			if err != nil {
				return "", fault.Hint(errors.New("go is not on the PATH"), "install it, or pass binaries: assistctl release create <version> --binary <file>")
			}
			return string(out[:max(len(out)-1, 0)]), nil
		}),
		answer(here, "key to the backups", func() (string, error) { return operatorKey(cfg) }))
}

func pulumiVersion(ctx context.Context, cfg *config.Config) (string, error) {
	pulumi := cfg.Kubernetes.Pulumi
	if pulumi == "" {
		pulumi = "pulumi"
	}
	path, err := exec.LookPath(pulumi)
	if err != nil {
		return "", fault.Hint(errors.New("pulumi is not on the PATH"), "install Pulumi's command line, or name it: --set kubernetes.pulumi=<path>")
	}
	out, err := exec.CommandContext(ctx, path, "version").Output()
	if err != nil {
		return "", fmt.Errorf("%s version: %w", path, err)
	}
	return strings.TrimSpace(string(out)) + " at " + path, nil
}

// operatorKey looks at the key without making one.
func operatorKey(cfg *config.Config) (string, error) {
	path := identityPath(cfg)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return "none yet: the first backup makes it", nil
	}
	if _, err := backup.ReadOperator(path); err != nil {
		return "", err
	}
	return path + " (keep a copy somewhere else)", nil
}

func (o *doctorOptions) environment(ctx context.Context, cfg *config.Config, name string) []finding {
	var env *environment
	up := answer(name, "up", func() (string, error) {
		opened, err := o.app.environment(ctx, cfg, name)
		if err != nil {
			return "", err
		}
		s, err := opened.site.Status(ctx)
		if err != nil {
			return "", err
		}
		if !s.Up {
			return "", fault.Hint(fmt.Errorf("%s is not up", name), opened.site.wayUp())
		}
		env = opened
		return s.URL, nil
	})
	if env == nil {
		return []finding{up}
	}
	within := func(check string, do func(ctx context.Context) (string, error)) finding {
		return answer(name, check, func() (string, error) {
			limited, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			detail, err := do(limited)
			if err != nil && limited.Err() != nil {
				err = fmt.Errorf("it does not answer within %s", terminal.Duration(patience))
			}
			return detail, err
		})
	}
	return []finding{
		up, within("database", env.askDatabase), within("bucket", env.probeBucket), within("ledger", env.checkLedger),
		within("replicas", env.checkReplicas), within("backup", env.checkBackup),
	}
}

func (e *environment) askDatabase(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := e.site.database(ctx)
	if err != nil {
		return "", err
	}
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return "", fault.Hint(errors.New("it does not answer"), e.site.logs("postgres"))
	}
	defer conn.Close(ctx) //nolint:errcheck // only asked
	return "PostgreSQL " + conn.PgConn().ParameterStatus("server_version"), nil
}

// probeBucket makes sure that the store heeds conditions: the ledger and the lease rest on that.
func (e *environment) probeBucket(ctx context.Context) (string, error) {
	probe, ok := e.store.(interface{ RefuseUnconditional(context.Context) error })
	if !ok {
		return "answers", nil
	}
	if err := probe.RefuseUnconditional(ctx); err != nil {
		return "", err
	}
	return "answers, and heeds conditional writes", nil
}

func (e *environment) checkLedger(ctx context.Context) (string, error) {
	runs, err := e.ledger.Runs(ctx)
	if err != nil {
		return "", err
	}
	for _, r := range runs {
		if r.Outcome != "" {
			continue
		}
		if holder, err := e.ledger.Holder(ctx); err == nil && holder != nil {
			return fmt.Sprintf("%s, %s is at work: %s", terminal.Plural(int64(len(runs)), "run"), holder.Actor, holder.Purpose), nil
		}
		return "", fault.Hint(fmt.Errorf("%s %d never ended", r.Kind, r.Number), "assistctl history "+e.config.Name+fmt.Sprintf(" %d", r.Number))
	}
	return terminal.Plural(int64(len(runs)), "run") + ", the chain is whole", nil
}

func (e *environment) checkReplicas(ctx context.Context) (string, error) {
	r, err := e.release.Target.Running(ctx)
	if err != nil {
		return "", err
	}
	state, err := release.StateOf(ctx, e.ledger)
	switch {
	case err != nil:
		return "", err
	case state.Release == "":
		return "no release runs yet", nil
	case r.Version != state.Release:
		return "", fault.Hint(fmt.Errorf("%s runs, the ledger says %s", r.Version, state.Release), "assistctl history "+e.config.Name)
	case r.Ready < r.Want:
		return "", fault.Hint(fmt.Errorf("%d/%d ready: %s", r.Ready, r.Want, r.Detail), e.site.logs("replicas"))
	}
	return fmt.Sprintf("%d/%d ready on %s", r.Ready, r.Want, r.Version), nil
}

func (e *environment) checkBackup(ctx context.Context) (string, error) {
	newest, ok, err := e.release.Backups.Newest(ctx)
	if err != nil {
		return "", err
	}
	next := "assistctl backup create " + e.config.Name
	if !ok {
		return "", fault.Hint(errors.New("there is none"), next)
	}
	age := e.app.Now().Sub(newest.Taken)
	if limit := e.config.Gates.BackupMaxAge; limit > 0 && age > limit {
		return "", fault.Hint(fmt.Errorf("%s is %s old", newest.ID, terminal.Duration(age)), next)
	}
	return fmt.Sprintf("%s, %s", newest.ID, terminal.Ago(e.app.Now(), newest.Taken)), nil
}
