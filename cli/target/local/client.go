package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/target"
)

var _ target.Target = (*Environment)(nil)

// down is target.ErrDown with what to do about it.
func (e *Environment) down(why error) error {
	err := fmt.Errorf("%s: %w (%w)", e.Name(), target.ErrDown, why)
	return fault.Code(fault.Hint(err, "assistctl local up "+e.Name()), fault.Unreachable)
}

// Status implements target.Target. It answers for an environment that is down from what its supervisor wrote down last.
func (e *Environment) Status(ctx context.Context) (target.Status, error) {
	var st target.Status
	err := e.get(ctx, pathStatus, nil, &st)
	if !errors.Is(err, target.ErrDown) {
		return st, err
	}
	was, err := loadState(e.statePath())
	if err != nil {
		return target.Status{}, fmt.Errorf("status of %s: %w", e.Name(), err)
	}
	st = target.Status{Environment: e.Name(), Want: e.config.Replicas, Paused: was.Paused, Fence: was.Fence, Rollout: was.Rollout}
	if was.Ports.Proxy != 0 {
		st.URL = e.url(was.Ports)
	}
	if d := was.Deployment; d != nil {
		st.Build, st.Settings = &d.Build, d.Settings
	}
	st.Database.Detail = "the environment is down"
	return st, nil
}

func (e *Environment) url(p ports) string {
	host, _, _ := net.SplitHostPort(e.config.ProxyAddr) // checked by Open
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(p.Proxy))
}

// Deploy implements target.Target.
func (e *Environment) Deploy(ctx context.Context, d target.Deployment, progress target.Progress) error {
	if _, err := e.reach(ctx); err != nil {
		return err
	}
	if err := e.ensureBuild(ctx, d.Build); err != nil {
		return err
	}
	body, err := json.Marshal(d)
	if err != nil {
		return err
	}
	response, err := e.request(ctx, http.MethodPost, pathDeploy, nil, body)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // only read
	for lines := json.NewDecoder(response.Body); ; {
		var l line
		if err := lines.Decode(&l); err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("deploy %s: %w", d.Build.Version, context.Cause(ctx))
			}
			return e.down(fmt.Errorf("its supervisor ended during the deployment: %w", err))
		}
		if l.End != nil {
			return l.End.err()
		}
		if l.Event != nil && progress != nil {
			progress(l.Event.Ready, l.Event.Want, l.Event.Detail)
		}
	}
}

// Traffic implements target.Target. It looks back an hour at most, and not past the start of the supervisor.
func (e *Environment) Traffic(ctx context.Context, window time.Duration) (target.Traffic, error) {
	var t target.Traffic
	return t, e.get(ctx, pathTraffic, url.Values{"window": {window.String()}}, &t)
}

// Pause makes the entrance answer 503 with Retry-After, until Resume. It outlives the supervisor.
func (e *Environment) Pause(ctx context.Context, reason string) error {
	return e.act(ctx, pathPause, reason)
}

// Resume opens the entrance again.
func (e *Environment) Resume(ctx context.Context) error { return e.act(ctx, pathResume, "") }

// RunJob makes the supervisor run one of its scheduled jobs now, and does not wait for its end.
func (e *Environment) RunJob(ctx context.Context, name string) error {
	return e.act(ctx, pathRunJob, name)
}

func (e *Environment) act(ctx context.Context, path, argument string) error {
	return e.tell(ctx, path, url.Values{"argument": {argument}}, nil)
}

// tell asks the supervisor to do something, and returns how that ended.
func (e *Environment) tell(ctx context.Context, path string, query url.Values, body []byte) error {
	response, err := e.request(ctx, http.MethodPost, path, query, body)
	if err != nil {
		return err
	}
	var a answer
	if err := e.decode(response, path, &a); err != nil {
		return err
	}
	return a.err()
}

func (e *Environment) get(ctx context.Context, path string, query url.Values, v any) error {
	response, err := e.request(ctx, http.MethodGet, path, query, nil)
	if err != nil {
		return err
	}
	return e.decode(response, path, v)
}

func (e *Environment) decode(response *http.Response, path string, v any) error {
	defer response.Body.Close() //nolint:errcheck // only read
	if err := json.NewDecoder(response.Body).Decode(v); err != nil {
		return e.down(fmt.Errorf("its supervisor ended before it answered %s: %w", path, err))
	}
	return nil
}

// reach returns ErrDown when there is no supervisor.
func (e *Environment) reach(ctx context.Context) (target.Status, error) {
	var st target.Status
	return st, e.get(ctx, pathStatus, nil, &st)
}

func (e *Environment) request(ctx context.Context, method, path string, query url.Values, body []byte) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://supervisor"+path+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", e.socketPath())
		},
	}}
	response, err := client.Do(request)
	switch {
	case err == nil && response.StatusCode == http.StatusOK:
		return response, nil
	case err == nil:
		text, _ := io.ReadAll(io.LimitReader(response.Body, 1000)) // what it says besides its status is a courtesy
		return nil, errors.Join(fmt.Errorf("%s: supervisor answered %s with %s: %s", e.Name(), path, response.Status, strings.TrimSpace(string(text))),
			response.Body.Close())
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s: ask its supervisor: %w", e.Name(), context.Cause(ctx))
	case errors.Is(err, fs.ErrPermission):
		return nil, fault.Hint(fmt.Errorf("%s: ask its supervisor: %w", e.Name(), err), "run as the user who brought it up")
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return nil, e.down(errors.New("nobody listens on its control socket"))
	}
	// The socket is on this machine: a connection breaks because the supervisor ends.
	return nil, e.down(fmt.Errorf("its supervisor ended before it answered: %w", errors.Unwrap(err)))
}
