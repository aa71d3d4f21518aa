package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/smart-assistant/platform/cli/backup"
	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/postgres"
	"github.com/smart-assistant/platform/cli/target/kubernetes/podcall"
	"github.com/smart-assistant/platform/cli/target/kubernetes/volume"
)

// The verbs of a restore, in the restore pod. Each reads one request from its standard input and works on the database's volume; when its
// caller goes away it ends, and leaves no server running. The key that opens the backup comes with the request and goes with the process.

// onVolume is one verb.
type onVolume func(ctx context.Context, o *insideOptions, v *volume.Volume, request []byte, c *podcall.Conversation) (any, error)

var volumeVerbs = map[string]onVolume{
	podcall.Look:    look,
	podcall.Unpack:  unpackOnVolume,
	podcall.Try:     try,
	podcall.Swap:    swap,
	podcall.Discard: discard,
	podcall.Asides:  asides,
	podcall.Drop:    drop,
}

func newCmdsInsideVolume(o *insideOptions) []*cobra.Command {
	var all []*cobra.Command
	for name, verb := range volumeVerbs {
		all = append(all, &cobra.Command{
			Use: name, Short: "A step of a restore, with its request on standard input", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return podcall.Serve(cmd.Context(), o.app.IO.In, o.app.IO.Out, func(ctx context.Context, request []byte, c *podcall.Conversation) (any, error) {
					v, err := o.volume()
					if err != nil {
						return nil, err
					}
					if name == podcall.Look { // which another's verb does not disturb
						return verb(ctx, o, v, request, c)
					}
					unlock, err := v.Lock(ctx)
					if err != nil {
						return nil, err
					}
					result, err := verb(ctx, o, v, request, c)
					return result, errors.Join(err, unlock())
				})
			},
		})
	}
	return all
}

func (o *insideOptions) volume() (*volume.Volume, error) {
	out, err := o.files.Environment()
	if err != nil {
		return nil, err
	}
	binaries, err := postgres.Find("")
	if err != nil {
		return nil, err
	}
	return &volume.Volume{Root: out.Database.Volume, Live: out.Database.Live, Binaries: binaries, Now: o.app.Now}, nil
}

func look(ctx context.Context, _ *insideOptions, v *volume.Volume, _ []byte, _ *podcall.Conversation) (any, error) {
	var l podcall.Looked
	var err error
	if l.System, l.Exists, err = v.SystemIdentifier(ctx); err != nil {
		return nil, err
	}
	if l.Free, err = v.Free(ctx); err != nil {
		return nil, err
	}
	l.Live, err = v.LiveCluster()
	return l, err
}

func unpackOnVolume(ctx context.Context, o *insideOptions, v *volume.Volume, request []byte, c *podcall.Conversation) (any, error) {
	var q backup.UnpackRequest
	if err := json.Unmarshal(request, &q); err != nil {
		return nil, err
	}
	e, _, err := o.inPod(ctx)
	if err != nil {
		return nil, err
	}
	dir, found, err := q.Into(ctx, e.store, v, o.app.Now, func(bytes int64) { c.Progress(podcall.Unpack, bytes, q.Bytes, "B") })
	if err != nil {
		return nil, err
	}
	c.Progress(podcall.Unpack, q.Bytes, q.Bytes, "B") // the last ones may have come too soon after another
	return podcall.Unpacked[backup.Unpacked]{Dir: dir, Found: found}, nil
}

func try(ctx context.Context, o *insideOptions, v *volume.Volume, request []byte, c *podcall.Conversation) (any, error) {
	var q podcall.TryRequest
	if err := json.Unmarshal(request, &q); err != nil {
		return nil, err
	}
	scratch, err := o.scratch(q)
	if err != nil {
		return nil, err
	}
	return struct{}{}, v.Try(ctx, q.Dir, scratch, func(ctx context.Context, at string) error {
		u, err := url.Parse(at)
		if err != nil {
			return err
		}
		if scratch.Certificate != "" && q.RootCert != "" { // by address, so the certificate's names do not matter
			u.RawQuery = url.Values{"sslmode": {"verify-ca"}, "sslrootcert": {q.RootCert}}.Encode()
		}
		return c.Ready(ctx, u.String())
	})
}

// scratch is how the scratch server is reached: as the live one, with the environment's own certificate and passwords.
func (o *insideOptions) scratch(q podcall.TryRequest) (volume.Scratch, error) {
	out, err := o.files.Environment()
	if err != nil {
		return volume.Scratch{}, err
	}
	s := volume.Scratch{Address: q.Address, Port: q.Port, Passwords: map[string]string{}}
	for role, name := range map[string]string{
		postgres.Superuser: "superuser-password", out.Database.Role: "service-password", out.Database.BackupRole: "backup-password",
	} {
		password, err := os.ReadFile(o.files.Database(name))
		if err != nil {
			return volume.Scratch{}, fmt.Errorf("password of role %s: %w", role, err)
		}
		s.Passwords[role] = strings.TrimSpace(string(password))
	}
	_, err = os.Stat(o.files.Database("tls.crt"))
	if err == nil {
		s.Certificate, s.Key = o.files.Database("tls.crt"), o.files.Database("tls.key")
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return s, err
}

func swap(ctx context.Context, _ *insideOptions, v *volume.Volume, request []byte, _ *podcall.Conversation) (any, error) {
	var q podcall.SwapRequest
	if err := json.Unmarshal(request, &q); err != nil {
		return nil, err
	}
	if q.Pod != "" && q.Pod != os.Getenv(podcall.PodVariable) {
		return nil, fault.Code(errors.New("somebody else has taken the restore over: this is not the pod that was there when the database was stopped"), fault.Refused)
	}
	return struct{}{}, v.Swap(ctx, q.Dir, q.Aside, q.Stopped)
}

func discard(ctx context.Context, _ *insideOptions, v *volume.Volume, request []byte, _ *podcall.Conversation) (any, error) {
	var name string
	if err := json.Unmarshal(request, &name); err != nil {
		return nil, err
	}
	return struct{}{}, v.Discard(ctx, name)
}

func asides(ctx context.Context, _ *insideOptions, v *volume.Volume, _ []byte, _ *podcall.Conversation) (any, error) {
	all, err := v.Asides(ctx)
	return all, err
}

func drop(ctx context.Context, _ *insideOptions, v *volume.Volume, request []byte, _ *podcall.Conversation) (any, error) {
	var name string
	if err := json.Unmarshal(request, &name); err != nil {
		return nil, err
	}
	return struct{}{}, v.DropAside(ctx, name)
}
