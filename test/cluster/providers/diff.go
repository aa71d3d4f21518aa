package providers

import (
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// inputDiff compares inputs with inputs, as the real providers' answers look: what the server filled in is nobody's change.
func inputDiff(before, after resource.PropertyMap, replaces func(path string) bool) plugin.DiffResult {
	objects := plainMap(before).DiffIncludeUnknowns(plainMap(after), func(k resource.PropertyKey) bool { return strings.HasPrefix(string(k), "__") })
	if objects == nil || !objects.AnyChanges() {
		return plugin.DiffResult{Changes: plugin.DiffNone}
	}
	result := plugin.DiffResult{Changes: plugin.DiffSome, DetailedDiff: plugin.NewDetailedDiffFromObjectDiff(objects, true), ChangedKeys: objects.ChangedKeys()}
	for path, d := range result.DetailedDiff {
		if replaces(path) {
			result.DetailedDiff[path] = d.ToReplace()
			result.ReplaceKeys = append(result.ReplaceKeys, resource.PropertyKey(path))
		}
	}
	return result
}

func replacing(d plugin.DiffResult) bool { return len(d.ReplaceKeys) > 0 }

// immutable lists the fields that the API server lets nobody change, by kind. A change below one of them replaces the object.
var immutable = map[schema.GroupKind][]string{
	{Group: "apps", Kind: "Deployment"}:                               {"spec.selector"},
	{Group: "apps", Kind: "DaemonSet"}:                                {"spec.selector"},
	{Group: "apps", Kind: "ReplicaSet"}:                               {"spec.selector"},
	{Group: "apps", Kind: "StatefulSet"}:                              {"spec.podManagementPolicy", "spec.selector", "spec.serviceName", "spec.volumeClaimTemplates"},
	{Group: "batch", Kind: "Job"}:                                     {"spec.completions", "spec.parallelism", "spec.selector", "spec.template"},
	{Kind: "PersistentVolumeClaim"}:                                   {"spec.accessModes", "spec.selector", "spec.storageClassName", "spec.volumeMode", "spec.volumeName", "spec.dataSource", "spec.dataSourceRef"},
	{Kind: "Pod"}:                                                     {"spec"},
	{Kind: "Secret"}:                                                  {"type", "immutable"},
	{Kind: "ConfigMap"}:                                               {"immutable"},
	{Kind: "Service"}:                                                 {"spec.clusterIP"},
	{Group: "storage.k8s.io", Kind: "StorageClass"}:                   {"parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"},
	{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"}:         {"roleRef"},
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding"}:  {"roleRef"},
	{Group: "networking.k8s.io", Kind: "IngressClass"}:                {"spec.controller"},
	{Group: "scheduling.k8s.io", Kind: "PriorityClass"}:               {"value", "preemptionPolicy"},
	{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}: {"spec.group", "spec.scope", "spec.names.kind", "spec.names.plural"},
}

// replaces says whether a change at path needs a new object.
func (c *cluster) replaces(kind schema.GroupKind, before *unstructured.Unstructured, path string) bool {
	fields := append([]string{"apiVersion", "kind", "metadata.name", "metadata.namespace"}, immutable[kind]...)
	frozen, _, _ := unstructured.NestedBool(before.Object, "immutable")
	switch {
	case kind == schema.GroupKind{Kind: "ConfigMap"} && (frozen || !c.mutableConfigMaps):
		fields = append(fields, "data", "binaryData")
	case kind == schema.GroupKind{Kind: "Secret"} && (frozen || !c.mutableSecrets):
		fields = append(fields, "data", "stringData")
	}
	return slices.ContainsFunc(fields, func(f string) bool { return below(path, f) })
}

// below says that path is field or a part of it.
func below(path, field string) bool {
	rest, ok := strings.CutPrefix(path, field)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}
