//go:build cluster

package kubernetes

import (
	"context"
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/target/targettest"
)

func TestConformance(t *testing.T) {
	targettest.Run(t, func(t *testing.T) targettest.Place {
		e := newEnvironment(t, func(c *Config) { c.ReadyTimeout, c.PullTimeout = 40*time.Second, time.Second })
		return targettest.Place{
			Target: complete{e}, Down: func(t *testing.T) { scale(t, e, 0, 0) }, Up: func(t *testing.T) { scale(t, e, 1, 2) },
			Transport:     func() *http.Transport { return entrance(t, e) },
			ReplicasCount: true, CallerDrives: true,
		}
	})
}

// complete adds to a deployment the images that a release has beside the service's.
type complete struct{ *Environment }

func (c complete) Deploy(ctx context.Context, d target.Deployment, progress target.Progress) error {
	d.Images = map[string]string{serviceImage: "sha256:" + d.Build.SHA256, "assistctl": "sha256:" + targettest.V1.SHA256}
	return c.Environment.Deploy(ctx, d, progress)
}

// scale takes an environment down as somebody does who saves a cluster's nights, and brings it back.
func scale(t *testing.T, e *Environment, database, replicas int) {
	t.Helper()
	c, err := e.reach(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	to := func(n int) []byte { return []byte(`{"spec":{"replicas":` + string(rune('0'+n)) + `}}`) }
	if _, err := c.client.AppsV1().StatefulSets(c.namespace()).Patch(t.Context(), "postgres", types.MergePatchType, to(database), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.client.AppsV1().Deployments(c.namespace()).Patch(t.Context(), apiName, types.MergePatchType, to(replicas), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		s, err := e.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Replicas) == replicas && s.Ready == replicas && s.Database.Reachable == (database > 0) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not scaled: %+v", s)
		}
	}
}

func entrance(t *testing.T, e *Environment) *http.Transport {
	client, err := e.Entrance(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	transport, ok := client.Transport.(*http.Transport)
	if !ok {
		t.Fatalf("a transport of kind %T", client.Transport)
	}
	return transport
}
