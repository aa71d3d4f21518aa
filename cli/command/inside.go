package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/config"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/ledger"
	"github.com/smart-assistant/platform/cli/objectstore"
	"github.com/smart-assistant/platform/cli/target/kubernetes/outputs"
)

// insideOptions are what every verb of `inside` gets: where the pod's configuration is.
type insideOptions struct {
	app   *App
	files outputs.Files
}

// newCmdInside is what assistctl does in the pods of an environment on Kubernetes. Nobody types it: the cluster's schedule and assistctl on an
// operator's machine do.
func newCmdInside(app *App) *cobra.Command {
	o := &insideOptions{app: app}
	cmd := &cobra.Command{Use: "inside", Short: "What assistctl does in a cluster's pods", Hidden: true}
	cmd.PersistentFlags().StringVar((*string)(&o.files), "folder", outputs.Folder, "`folder` of the pod's configuration")
	cmd.AddCommand(newCmdInsideInstall(), newCmdInsideWait(o), newCmdInsideBackup(o), newCmdInsidePrune(o))
	cmd.AddCommand(newCmdsInsideVolume(o)...)
	return cmd
}

func newCmdInsideInstall() *cobra.Command {
	return &cobra.Command{
		Use: "install <path>", Short: "Copy this program, for another container of the pod", Args: exactArgs(1, "inside install takes a path"),
		RunE: func(_ *cobra.Command, args []string) error {
			if err := installSelf(args[0]); err != nil {
				return fmt.Errorf("copy this program to %s: %w", args[0], err)
			}
			return nil
		},
	}
}

func installSelf(path string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	from, err := os.Open(self)
	if err != nil {
		return err
	}
	defer from.Close()
	unfinished := path + ".new"
	to, err := os.OpenFile(unfinished, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	if err := errors.Join(err, to.Close()); err != nil {
		return err
	}
	return os.Rename(unfinished, path)
}

func newCmdInsideWait(o *insideOptions) *cobra.Command {
	idle := 3 * time.Minute
	cmd := &cobra.Command{
		Use: "wait", Short: "Keep the restore pod there for the verbs that come", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.wait(cmd.Context(), idle) },
	}
	cmd.Flags().DurationVar(&idle, "idle", idle, "end after this long without a verb at work")
	return cmd
}

// wait does nothing until the pod is to end, or nobody has come for long: whoever made the pod may be gone. As the container's first process
// it also takes leave of what a verb that was killed has left.
func (o *insideOptions) wait(ctx context.Context, idle time.Duration) error {
	v, err := o.volume()
	if err != nil {
		return err
	}
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	defer signal.Stop(children)
	tick := time.NewTicker(min(idle/10, time.Second))
	defer tick.Stop()
	last := time.Now()
	for ctx.Err() == nil && time.Since(last) < idle {
		select {
		case <-ctx.Done():
		case <-children:
			if os.Getpid() == 1 {
				reap()
			}
		case <-tick.C:
			if free, err := v.TryLock(); err != nil || free == nil {
				last = time.Now() // a verb is at work
			} else if err := free(); err != nil {
				return err
			}
		}
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	return v.EndScratches(ending)
}

func reap() {
	for {
		if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
			return
		}
	}
}

// inPod is an environment as a pod sees it: what the stack says of it, and the bucket with the pod's own credentials.
func (o *insideOptions) inPod(ctx context.Context) (*environment, outputs.Outputs, error) {
	out, err := o.files.Environment()
	if err != nil {
		return nil, out, err
	}
	s3 := objectstore.S3Config{Endpoint: out.Bucket.Endpoint, Region: out.Bucket.Region, Bucket: out.Bucket.Name, ByHost: !out.Bucket.PathStyle}
	for name, field := range map[string]*string{"access-key": &s3.AccessKey, "secret-key": &s3.SecretKey} {
		content, err := readOptional(o.files.Bucket(name))
		if err != nil {
			return nil, out, fmt.Errorf("credentials of the bucket: %w", err)
		}
		*field = strings.TrimSpace(string(content))
	}
	if s3.RootCAs, err = readOptional(o.files.Bucket("ca.crt")); err != nil {
		return nil, out, fmt.Errorf("CA of the bucket: %w", err)
	}
	s3.Surroundings = s3.AccessKey == ""
	store, err := objectstore.OpenS3(ctx, s3)
	if err != nil {
		return nil, out, err
	}
	// The defaults of what the stack does not say: how long a lease lasts.
	defaults, err := config.Load(config.Options{Dir: "/", Home: "/", Environ: []string{}})
	if err != nil {
		return nil, out, err
	}
	e := &environment{app: o.app, all: defaults, store: store, site: podSite{out: out}, config: config.Environment{Name: out.Name}}
	e.ledger = ledger.Open(store, ledger.Options{Environment: out.Name, Actor: "schedule@" + out.Namespace, TTL: defaults.Lease.TTL, Now: o.app.Now})
	e.backups = &backup.Repository{Store: store, Environment: out.Name, Now: o.app.Now}
	return e, out, nil
}

// podSite is an environment as seen from a pod of its own: of what verbs may ask a site, the schedule asks only this.
type podSite struct {
	site
	out outputs.Outputs
}

func (s podSite) retention(context.Context) (config.Retention, error) {
	return config.Retention(s.out.Retention), nil
}

// readOptional reads a file that need not be there.
func readOptional(path string) ([]byte, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return content, err
}

// mountedWriter is a writer's file out of a Secret: who may read it is the cluster's matter, and nobody writes it from here.
type mountedWriter string

func (w mountedWriter) Read(context.Context) ([]byte, error) { return os.ReadFile(string(w)) }
func (w mountedWriter) String() string                       { return string(w) }

func (w mountedWriter) Replace(context.Context, []byte) error {
	return fault.Code(fmt.Errorf("%s is not for writing", filepath.Base(string(w))), fault.Refused)
}

var _ backup.WriterStore = mountedWriter("")
