package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/target/kubernetes/outputs"
)

// record is what the target remembers of an environment, in a ConfigMap of its own beside what it is about. The stack does not know it.
type record struct {
	Format   int        `json:"format"`
	Fence    int64      `json:"fence"`              // highest seen
	Turn     *turn      `json:"turn,omitempty"`     // the deployment under way
	Deployed *installed `json:"deployed,omitempty"` // the last that ended well
	Failed   *failure   `json:"failed,omitempty"`   // the last, when it failed
}

// installed is a release that an environment runs with all its images.
type installed struct {
	Release outputs.Release `json:"release"`
	At      time.Time       `json:"at"`
}

// failure is a rollout that failed. Its replicas are gone, and with them what they logged but for this.
type failure struct {
	Rollout target.Rollout `json:"rollout"`
	Replica string         `json:"replica"`
	Log     string         `json:"log"`
}

const (
	recordName   = "assistctl-state" // ConfigMap
	recordKey    = "state.json"
	recordFormat = 1
	mostLog      = 64 << 10 // bytes of a failed replica's log that are kept
)

// load reads the record; a new one where there is none.
func (c *cluster) load(ctx context.Context) (record, *corev1.ConfigMap, error) {
	found, err := c.client.CoreV1().ConfigMaps(c.namespace()).Get(ctx, recordName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return record{Format: recordFormat}, nil, nil
	}
	if err != nil {
		return record{}, nil, unreachable(fmt.Errorf("read the record of deployments in %s: %w", c.namespace(), err))
	}
	r, err := parseRecord([]byte(found.Data[recordKey]))
	return r, found, err
}

func parseRecord(content []byte) (record, error) {
	var r record
	if err := json.Unmarshal(content, &r); err != nil {
		return record{}, fault.Code(fmt.Errorf("the record of deployments (ConfigMap %s) is not what was written: %w", recordName, err), fault.Damaged)
	}
	if r.Format != recordFormat {
		return record{}, fmt.Errorf("the record of deployments (ConfigMap %s) has format %d, this assistctl reads %d", recordName, r.Format, recordFormat)
	}
	return r, nil
}

// update changes the record by compare-and-set: what change decided on is what was there when it is written.
func (c *cluster) update(ctx context.Context, change func(*record) error) error {
	for {
		r, found, err := c.load(ctx)
		if err != nil {
			return err
		}
		if err := change(&r); err != nil {
			return err
		}
		switch err := c.save(ctx, r, found); {
		case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err): // somebody else was faster
		case apierrors.IsNotFound(err):
			return fmt.Errorf("%w: there is no namespace %s", target.ErrDown, c.namespace())
		case err != nil:
			return unreachable(fmt.Errorf("write the record of deployments in %s: %w", c.namespace(), err))
		default:
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (c *cluster) save(ctx context.Context, r record, found *corev1.ConfigMap) error {
	content, err := json.Marshal(r)
	if err != nil {
		return err
	}
	maps := c.client.CoreV1().ConfigMaps(c.namespace())
	if found == nil {
		_, err = maps.Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: recordName, Labels: map[string]string{
				labelName: recordName, labelInstance: c.out.Name, labelManagedBy: "assistctl", "app.kubernetes.io/part-of": "smart-assistant",
			}},
			Data: map[string]string{recordKey: string(content)},
		}, metav1.CreateOptions{})
		return err
	}
	changed := found.DeepCopy() // with the version that was read: a write in between makes this one a conflict
	changed.Data = map[string]string{recordKey: string(content)}
	_, err = maps.Update(ctx, changed, metav1.UpdateOptions{})
	return err
}

// unreachable marks an error that is no answer of the API server: nothing is known then. What else went wrong stays what it is.
func unreachable(err error) error {
	var status apierrors.APIStatus
	var transport *url.Error
	var network net.Error
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &status):
		if !apierrors.IsServiceUnavailable(err) && !apierrors.IsTimeout(err) && !apierrors.IsServerTimeout(err) {
			return err
		}
	case !errors.As(err, &transport) && !errors.As(err, &network):
		return err
	}
	return fault.Code(fmt.Errorf("%w: %w", target.ErrUnreachable, err), fault.Unreachable)
}
