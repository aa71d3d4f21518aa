package kubernetes

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/auto"
	"github.com/pulumi/pulumi/sdk/v3/go/auto/optrefresh"
	"github.com/pulumi/pulumi/sdk/v3/go/common/apitype"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/smart-assistant/platform/cli/fault"
)

// What an update that was killed leaves behind: a lock on the stack, and in the stack's state the operations that were under way. The
// state says what was there before them; the cluster may have come further.

// mend cancels the lock and brings the state up to date with the cluster. An object that was being changed is read again: the update that
// follows would else compare with what it was before, and find nothing to do. One that was being made is taken away, since the stack
// would not make it again over itself. Of things that are no objects of the cluster a person has to find out.
func (e *Environment) mend(ctx context.Context, s auto.Stack) error {
	if err := s.Cancel(ctx); err != nil && !strings.Contains(err.Error(), "not locked") {
		return e.failed(ctx, "cancel --stack "+e.config.Stack, err, err.Error())
	}
	state, err := s.Export(ctx)
	if err != nil {
		return e.failed(ctx, "stack export --stack "+e.config.Stack, err, err.Error())
	}
	cleared, pending, err := withoutPending(state)
	if err != nil {
		return fault.Hint(fmt.Errorf("stack %s: %w", e.config.Stack, err), "pulumi refresh --clear-pending-creates --stack "+e.config.Stack)
	}
	if len(pending) == 0 {
		return nil
	}
	var again []string
	for _, p := range pending {
		if p.Type != apitype.OperationTypeCreating {
			again = append(again, string(p.Resource.URN))
		} else if err := e.takeAway(ctx, p.Resource); err != nil {
			return fmt.Errorf("stack %s: %w", e.config.Stack, err)
		}
	}
	if err := s.Import(ctx, cleared); err != nil {
		return e.failed(ctx, "stack import --stack "+e.config.Stack, err, err.Error())
	}
	if len(again) == 0 {
		return nil
	}
	if _, err := s.Refresh(ctx, optrefresh.Target(again), optrefresh.UserAgent(userAgent), optrefresh.Color("never"), optrefresh.SuppressProgress()); err != nil {
		return e.failed(ctx, "refresh --stack "+e.config.Stack, err, err.Error())
	}
	return nil
}

// withoutPending takes the pending operations out of a stack's state, and returns them.
func withoutPending(state apitype.UntypedDeployment) (apitype.UntypedDeployment, []apitype.OperationV2, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(state.Deployment, &all); err != nil {
		return state, nil, fmt.Errorf("its state is not understood: %w", err)
	}
	var pending []apitype.OperationV2
	if raw, ok := all["pending_operations"]; ok {
		if err := json.Unmarshal(raw, &pending); err != nil {
			return state, nil, fmt.Errorf("its pending operations are not understood: %w", err)
		}
	}
	for _, p := range pending {
		if _, known := releaseKinds[string(p.Resource.Type)]; !known && p.Type == apitype.OperationTypeCreating {
			return state, nil, fmt.Errorf("an update was killed while it made %s, and nobody knows whether that is there", p.Resource.URN)
		}
	}
	delete(all, "pending_operations")
	raw, err := json.Marshal(all)
	if err != nil {
		return state, nil, err
	}
	return apitype.UntypedDeployment{Version: state.Version, Features: state.Features, Deployment: raw}, pending, nil
}

// takeAway deletes an object that was being made, if it is there and the stack's.
func (e *Environment) takeAway(ctx context.Context, r apitype.ResourceV3) error {
	c, err := e.reach(ctx)
	if err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(c.rest)
	if err != nil {
		return err
	}
	metadata, _ := r.Inputs["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	namespace, _ := metadata["namespace"].(string)
	if name == "" || namespace != c.namespace() {
		return fmt.Errorf("an update was killed while it made %s, and nobody knows whether that is there", r.URN)
	}
	objects := client.Resource(releaseKinds[string(r.Type)]).Namespace(namespace)
	for {
		found, err := objects.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return unreachable(fmt.Errorf("look at %s: %w", r.URN, ended(ctx, err)))
		}
		if found.GetLabels()[labelManagedBy] != "pulumi" || found.GetLabels()[labelInstance] != c.out.Name {
			return fmt.Errorf("%s is there, and not the stack's own", r.URN)
		}
		foreground := metav1.DeletePropagationForeground
		if err := objects.Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &foreground}); err != nil && !apierrors.IsNotFound(err) {
			return unreachable(fmt.Errorf("take away %s: %w", r.URN, ended(ctx, err)))
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

// releaseKinds run the release's images, or are there only once there is a release.
var releaseKinds = map[string]schema.GroupVersionResource{
	"kubernetes:apps/v1:Deployment":                     {Group: "apps", Version: "v1", Resource: "deployments"},
	"kubernetes:batch/v1:CronJob":                       {Group: "batch", Version: "v1", Resource: "cronjobs"},
	"kubernetes:core/v1:PodTemplate":                    {Version: "v1", Resource: "podtemplates"},
	"kubernetes:core/v1:ConfigMap":                      {Version: "v1", Resource: "configmaps"},
	"kubernetes:autoscaling/v2:HorizontalPodAutoscaler": {Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"},
	"kubernetes:policy/v1:PodDisruptionBudget":          {Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"},
}
