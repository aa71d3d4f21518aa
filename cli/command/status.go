package command

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/cli/config"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/release"
	"github.com/smart-assistant/platform/cli/terminal"
	"github.com/smart-assistant/platform/service/schema"
)

type statusOptions struct {
	app   *App
	watch bool
	every time.Duration
}

func newCmdStatus(app *App, runF func(context.Context, *statusOptions) error) *cobra.Command {
	o := &statusOptions{app: app}
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show what each environment runs, how it does, and what could go where next",
		GroupID: groupRelease,
		Example: "  assistctl status\n  assistctl status --watch\n  assistctl status --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runStatus(cmd.Context(), o)
		},
	}
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "show it again and again until Ctrl-C")
	cmd.Flags().DurationVar(&o.every, "every", 2*time.Second, "with --watch: how often")
	return cmd
}

// environmentStatus is one line of the status.
type environmentStatus struct {
	Environment string        `json:"environment"`
	Up          bool          `json:"up"`
	URL         string        `json:"url,omitempty"`
	Release     string        `json:"release,omitempty"` // that the ledger says
	Runs        string        `json:"runs,omitempty"`    // that the replicas run, when it is another
	Since       time.Time     `json:"since,omitzero"`
	Want        int           `json:"want"`
	Ready       int           `json:"ready"`
	Requests    int64         `json:"requests"` // in the last hour
	Failed      int64         `json:"failed"`
	Schema      int64         `json:"schema,omitempty"`
	Backup      string        `json:"backup,omitempty"` // newest
	BackupAge   time.Duration `json:"backupAge,omitempty"`
	Lease       string        `json:"lease,omitempty"` // who is at work
	Unfinished  int           `json:"unfinished,omitempty"`
	Next        string        `json:"next,omitempty"`
	Problem     string        `json:"problem,omitempty"`

	state    release.State
	observed release.Running
	wayUp    string // the command that brings it up
}

func runStatus(ctx context.Context, o *statusOptions) error {
	cfg, err := o.app.Config()
	if err != nil {
		return err
	}
	for {
		all := o.look(ctx, cfg)
		if o.watch && o.app.IO.OutIsTerminal() {
			o.app.IO.Clear()
		}
		if err := o.show(all); err != nil {
			return err
		}
		if !o.watch {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(o.every):
		}
	}
}

func (o *statusOptions) look(ctx context.Context, cfg *config.Config) []environmentStatus {
	all := make([]environmentStatus, len(cfg.Order))
	var looking sync.WaitGroup
	for i, name := range cfg.Order {
		s := &all[i]
		s.Environment = name
		looking.Go(func() {
			if err := o.lookFor(ctx, cfg, s); err != nil {
				s.Problem = err.Error()
			}
		})
	}
	looking.Wait()
	for i := range all[:len(all)-1] {
		all[i].Next = next(o.app.Now(), cfg, all[i], all[i+1])
	}
	return all
}

// patience is how long one environment may take to say how it does: the others are to be shown too.
const patience = 20 * time.Second

func (o *statusOptions) lookFor(ctx context.Context, cfg *config.Config, s *environmentStatus) error {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := o.lookAt(limited, cfg, s)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("it does not answer within %s   assistctl doctor", terminal.Duration(patience))
	}
	return err
}

func (o *statusOptions) lookAt(ctx context.Context, cfg *config.Config, s *environmentStatus) error {
	place, err := o.app.openSite(cfg, s.Environment)
	if err != nil {
		return err
	}
	s.wayUp = place.wayUp()
	env, err := o.app.environment(ctx, cfg, s.Environment)
	if fault.CodeOf(err) == fault.Unreachable {
		return nil // not up: that is its status
	}
	if err != nil {
		return err
	}
	r, err := env.release.Target.Running(ctx)
	if err != nil {
		return err
	}
	s.Up, s.URL, s.Want, s.Ready, s.observed = r.Up, r.URL, r.Want, r.Ready, r
	if !r.Up {
		return nil
	}
	if s.state, err = release.StateOf(ctx, env.ledger); err != nil {
		return err
	}
	s.Release, s.Since = s.state.Release, s.state.Since
	if r.Version != s.Release {
		s.Runs = r.Version
	}
	if u := s.state.Unfinished; u != nil {
		s.Unfinished = u.Number
	}
	if holder, err := env.ledger.Holder(ctx); err != nil {
		return err
	} else if holder != nil {
		s.Lease = fmt.Sprintf("%s: %s", holder.Actor, holder.Purpose)
	}
	if t, err := env.release.Target.Traffic(ctx, time.Hour, ""); err == nil {
		s.Requests, s.Failed = t.Requests, t.Failed
	}
	if newest, ok, err := env.release.Backups.Newest(ctx); err != nil {
		return err
	} else if ok {
		s.Backup, s.BackupAge = newest.ID, o.app.Now().Sub(newest.Taken)
	}
	return s.readSchema(ctx, env)
}

// readSchema asks the database which migrations it has: quicker than the release's own build, which judges them.
func (s *environmentStatus) readSchema(ctx context.Context, env *environment) error {
	if s.Release == "" {
		return nil
	}
	if !s.observed.Database {
		return fmt.Errorf("its database does not answer   %s", env.site.logs("postgres"))
	}
	c, err := env.site.database(ctx)
	if err != nil {
		return err
	}
	db := stdlib.OpenDB(*c)
	defer db.Close()
	applied, err := schema.History(ctx, db)
	if err != nil {
		return err
	}
	for _, m := range applied {
		s.Schema = max(s.Schema, m.Version)
	}
	return nil
}

// next says whether a release could go on from one environment to the one after it.
func next(now time.Time, cfg *config.Config, from, to environmentStatus) string {
	arrow := "→ " + to.Environment + ": "
	soak := cfg.Environments[to.Environment].Gates.Soak
	switch {
	case from.Release == "" || !from.Up || !to.Up:
		return ""
	case from.Release == to.Release:
		return ""
	case to.Unfinished != 0:
		return arrow + fmt.Sprintf("run %d is not finished", to.Unfinished)
	case from.state.Verified.IsZero():
		return arrow + "not verified"
	case to.state.Refused == from.Release:
		return arrow + "failed there, see assistctl history " + to.Environment
	case now.Sub(from.state.Since) < soak:
		return arrow + "soaking, " + terminal.Duration(soak-now.Sub(from.state.Since)) + " left"
	default:
		return arrow + "ready"
	}
}

func (o *statusOptions) show(all []environmentStatus) error {
	if o.app.JSON {
		return o.app.printJSON(all)
	}
	var rows [][]string
	var notes []string
	for _, s := range all {
		rows = append(rows, statusRow(s))
		// What somebody is at, or left half done, explains the rest.
		if s.Lease != "" {
			notes = append(notes, fmt.Sprintf("%s: %s", s.Environment, s.Lease))
		} else if s.Unfinished != 0 {
			notes = append(notes, fmt.Sprintf("%s: %s %d never ended\n%s", s.Environment, s.state.Unfinished.Kind, s.Unfinished, release.ResumeHint(s.Environment, s.state.Unfinished.Kind, s.Unfinished)))
		}
		if s.Problem != "" {
			notes = append(notes, fmt.Sprintf("%s: %s", s.Environment, s.Problem))
		}
		if s.Runs != "" {
			notes = append(notes, fmt.Sprintf("%s runs %s, its ledger says %s   assistctl rollback %s --to %s", s.Environment, s.Runs, orNone(s.Release), s.Environment, orNone(s.Release)))
		}
	}
	if err := o.app.table([]string{"", "release", "schema", "replicas", "errors 1 h", "backup", "address", "next"}, rows); err != nil {
		return err
	}
	if len(notes) > 0 {
		fmt.Fprintf(o.app.IO.Out, "\n%s\n", strings.Join(notes, "\n"))
	}
	return nil
}

func orNone(release string) string {
	if release == "" {
		return "none"
	}
	return release
}

func statusRow(s environmentStatus) []string {
	if !s.Up {
		return []string{s.Environment, terminal.Warning("not up"), "–", "–", "–", "–", "–", s.wayUp}
	}
	dash := func(v string) string {
		if v == "" {
			return "–"
		}
		return v
	}
	replicas := fmt.Sprintf("%d/%d", s.Ready, s.Want)
	if s.Ready < s.Want && s.Release != "" {
		replicas = terminal.Bad(replicas)
	}
	errors, head, backup := "–", "–", "none"
	if s.Requests > 0 {
		errors = terminal.Percent(float64(s.Failed) / float64(s.Requests))
	}
	if s.Schema > 0 {
		head = fmt.Sprint(s.Schema)
	}
	if s.Backup != "" {
		backup = terminal.Duration(s.BackupAge) + " ago"
	}
	return []string{s.Environment, dash(s.Release), head, replicas, errors, backup, s.URL, s.Next}
}
