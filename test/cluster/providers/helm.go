package providers

import (
	"fmt"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
)

// A Helm release is kept in the state only: charts come from repositories that are out of reach where stand-ins are needed. Its pods
// never run; whoever wants to see them needs the real plugin.

func checkRelease(r plugin.CheckRequest) plugin.CheckResponse {
	inputs := r.News.Copy()
	if !inputs.HasValue("chart") {
		return plugin.CheckResponse{Failures: []plugin.CheckFailure{{Property: "chart", Reason: "a release needs a chart"}}}
	}
	for key, missing := range map[resource.PropertyKey]resource.PropertyValue{
		"name": resource.NewProperty(r.Name), "namespace": resource.NewProperty("default"),
	} {
		if inputs.HasValue(key) {
			continue
		}
		if old, ok := r.Olds[key]; ok {
			missing = old
		}
		inputs[key] = missing
	}
	return plugin.CheckResponse{Properties: inputs}
}

func (k *kubernetes) createRelease(r plugin.CreateRequest) plugin.CreateResponse {
	id := idOf(releaseField(r.Properties, "namespace"), releaseField(r.Properties, "name"))
	if r.Preview {
		return plugin.CreateResponse{Properties: releaseState(r.Properties, 1)}
	}
	k.log.printf("kubernetes: Helm release %s (chart %s) is kept in the state only", id, releaseField(r.Properties, "chart"))
	return plugin.CreateResponse{ID: resource.ID(id), Properties: releaseState(r.Properties, 1), Status: resource.StatusOK}
}

func (k *kubernetes) updateRelease(r plugin.UpdateRequest) plugin.UpdateResponse {
	revision := 2.0
	if status := plain(r.OldOutputs["status"]); status.IsObject() {
		if v := status.ObjectValue()["revision"]; v.IsNumber() {
			revision = v.NumberValue() + 1
		}
	}
	if !r.Preview {
		k.log.printf("kubernetes: Helm release %s is updated in the state only", r.ID)
	}
	return plugin.UpdateResponse{Properties: releaseState(r.NewInputs, revision), Status: resource.StatusOK}
}

func releaseState(inputs resource.PropertyMap, revision float64) resource.PropertyMap {
	state := inputs.Copy()
	state["status"] = resource.NewProperty(resource.PropertyMap{
		"name":      inputs["name"],
		"namespace": inputs["namespace"],
		"chart":     inputs["chart"],
		"version":   resource.NewProperty(releaseField(inputs, "version")),
		"revision":  resource.NewProperty(revision),
		"status":    resource.NewProperty("deployed"),
	})
	return state
}

func releaseField(inputs resource.PropertyMap, key resource.PropertyKey) string {
	if v := plain(inputs[key]); v.HasValue() && !v.IsComputed() {
		return fmt.Sprint(v.V)
	}
	return ""
}
