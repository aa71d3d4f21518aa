package command

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/terminal"
)

func newCmdLocalStatus(app *App, runF func(context.Context, *localOptions) error) *cobra.Command {
	o := &localOptions{app: app}
	return &cobra.Command{
		Use:     "status [<environment>...]",
		Short:   "Show the processes of environments on this machine",
		Example: "  assistctl local status\n  assistctl local status prod --json | jq '.[0].replicas'",
		RunE: func(cmd *cobra.Command, args []string) error {
			o.names = args
			if runF != nil {
				return runF(cmd.Context(), o)
			}
			return runLocalStatus(cmd.Context(), o)
		},
	}
}

func runLocalStatus(ctx context.Context, o *localOptions) error {
	all, err := o.eachLocal()
	if err != nil {
		return err
	}
	states, err := o.look(ctx, all)
	if err != nil {
		return err
	}
	if o.app.JSON {
		return o.app.printJSON(states)
	}
	for i, st := range states {
		if i > 0 {
			fmt.Fprintln(o.app.IO.Out)
		}
		if err := o.app.showEnvironment(st); err != nil {
			return err
		}
	}
	return nil
}

// showEnvironment prints one environment: a line about it, then a line for each process and job.
func (a *App) showEnvironment(st target.Status) error {
	fmt.Fprintln(a.IO.Out, a.headline(st))
	if !st.Up {
		return nil
	}
	var rows [][]string
	for _, c := range st.Components {
		rows = append(rows, []string{c.Name, a.state(c.State), address(c.Port), pid(c.PID), a.since(c.Since), restarts(c.Restarts), c.Detail})
	}
	for _, r := range st.Replicas {
		rows = append(rows, []string{r.Name, a.state(r.State), orDash(r.Address), pid(r.PID), a.since(r.Since), restarts(r.Restarts), r.Build.Version + detail(r.Detail)})
	}
	for _, j := range st.Jobs {
		rows = append(rows, a.jobRow(j))
	}
	return a.table([]string{"process", "state", "address", "pid", "since", "restarts", ""}, rows)
}

// headline is "prod   up   http://127.0.0.1:41001   v1.9.0, 3/3 ready".
func (a *App) headline(st target.Status) string {
	name := terminal.Strong(st.Environment)
	if !st.Up {
		return name + "   " + terminal.Warning("down") + "   assistctl local up " + st.Environment
	}
	line := name + "   " + terminal.Good("up") + "   " + st.URL
	if st.Build == nil {
		line += "   no release yet"
	} else {
		ready := fmt.Sprintf("%d/%d ready", st.Ready, st.Want)
		if st.Ready < st.Want {
			ready = terminal.Bad(ready)
		}
		line += "   " + st.Build.Version + ", " + ready
	}
	if st.Paused != "" {
		line += "   " + terminal.Warning("paused: "+st.Paused)
	}
	if !st.Database.Reachable {
		line += "   " + terminal.Bad("database: "+st.Database.Detail)
	}
	if r := st.Rollout; r != nil && !r.Ended {
		line += "   " + terminal.Warning("rolling out "+r.Build.Version)
	} else if r != nil && r.Error != "" {
		line += "   " + terminal.Bad("the rollout of "+r.Build.Version+" failed")
	}
	return line
}

func (a *App) state(s string) string {
	switch s {
	case "running", "ready":
		return terminal.Good(s)
	case "backoff", "unready":
		return terminal.Bad(s)
	}
	return terminal.Warning(s)
}

func (a *App) since(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return terminal.Ago(a.Now(), t)
}

func (a *App) jobRow(j target.JobResult) []string {
	state, said := terminal.Warning("waiting"), ""
	switch {
	case j.Running:
		state = terminal.Good("running")
	case j.Error != "":
		state, said = terminal.Bad("failed"), j.Error
	case !j.LastOK.IsZero():
		state = terminal.Good("ok")
	}
	switch {
	case j.Running || j.Next.IsZero():
	case j.Next.Before(a.Now()):
		said = "due now" + detail(said)
	default:
		said = "next " + terminal.Ago(a.Now(), j.Next) + detail(said)
	}
	return []string{j.Name, state, "–", "–", a.since(j.Began), "–", said}
}

func address(port int) string {
	if port == 0 {
		return "–"
	}
	return "127.0.0.1:" + strconv.Itoa(port)
}

func pid(n int) string {
	if n == 0 {
		return "–"
	}
	return strconv.Itoa(n)
}

func restarts(n int) string {
	if n == 0 {
		return "–"
	}
	return strconv.Itoa(n)
}

// detail appends what else there is to say.
func detail(s string) string {
	if s == "" {
		return ""
	}
	return "   " + s
}
