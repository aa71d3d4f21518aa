package providers

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// managerKey remembers in the state under which name the fields of an object were applied.
const managerKey = "__fieldManager"

// plain takes secrets and outputs off a value, all the way down. Unknown values stay what they are.
func plain(v resource.PropertyValue) resource.PropertyValue {
	switch {
	case v.IsSecret():
		return plain(v.SecretValue().Element)
	case v.IsOutput():
		if o := v.OutputValue(); o.Known {
			return plain(o.Element)
		}
		return resource.MakeComputed(resource.NewProperty(""))
	case v.IsArray():
		items := make([]resource.PropertyValue, 0, len(v.ArrayValue()))
		for _, item := range v.ArrayValue() {
			items = append(items, plain(item))
		}
		return resource.NewProperty(items)
	case v.IsObject():
		return resource.NewProperty(plainMap(v.ObjectValue()))
	}
	return v
}

func plainMap(m resource.PropertyMap) resource.PropertyMap {
	out := make(resource.PropertyMap, len(m))
	for k, v := range m {
		out[k] = plain(v)
	}
	return out
}

// markSecrets makes those values of out secret that are secret in like.
func markSecrets(out, like resource.PropertyMap) resource.PropertyMap {
	for k, v := range like {
		if o, ok := out[k]; ok {
			out[k] = markSecret(o, v)
		}
	}
	return out
}

func markSecret(out, like resource.PropertyValue) resource.PropertyValue {
	switch {
	case out.IsSecret():
		return out
	case like.IsSecret(), like.IsOutput() && like.OutputValue().Secret:
		return resource.MakeSecret(plain(out))
	case like.IsObject() && out.IsObject():
		return resource.NewProperty(markSecrets(out.ObjectValue(), like.ObjectValue()))
	case like.IsArray() && out.IsArray():
		items := out.ArrayValue()
		for i := range min(len(items), len(like.ArrayValue())) {
			items[i] = markSecret(items[i], like.ArrayValue()[i])
		}
	}
	return out
}

// objectOf is the manifest in a resource's inputs.
func objectOf(inputs resource.PropertyMap) *unstructured.Unstructured {
	m := plainMap(inputs).Mappable()
	maps.DeleteFunc(m, func(k string, _ any) bool { return strings.HasPrefix(k, "__") })
	return &unstructured.Unstructured{Object: integers(m).(map[string]any)}
}

// integers undoes that a property's numbers are all floats: the API server tells 1 from 1.0. Nulls go, since apply would claim them.
func integers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, item := range v {
			if item == nil {
				delete(v, k)
				continue
			}
			v[k] = integers(item)
		}
	case []any:
		for i, item := range v {
			v[i] = integers(item)
		}
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v)
		}
	}
	return v
}

// stateOf is what the state keeps of a live object: all of it but the bookkeeping of field managers.
func stateOf(live *unstructured.Unstructured, inputs resource.PropertyMap, manager string) resource.PropertyMap {
	live = live.DeepCopy()
	unstructured.RemoveNestedField(live.Object, "metadata", "managedFields")
	state := markSecrets(propertiesOf(live.Object), inputs)
	if live.GetKind() == "Secret" && live.GetAPIVersion() == "v1" {
		for _, k := range []resource.PropertyKey{"data", "stringData"} {
			if v, ok := state[k]; ok && !v.IsSecret() {
				state[k] = resource.MakeSecret(v)
			}
		}
	}
	if manager != "" {
		state[managerKey] = resource.NewProperty(manager)
	}
	return state
}

// propertiesOf goes by way of JSON: the property types know few kinds of numbers.
func propertiesOf(object map[string]any) resource.PropertyMap {
	text, err := json.Marshal(object)
	if err != nil {
		panic(fmt.Sprintf("an object from the API server that is no JSON: %v", err))
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		panic(fmt.Sprintf("JSON that was just written: %v", err))
	}
	return resource.NewPropertyMapFromMap(m)
}

// liveInputs says what of a live object a stack had declared, as it is now. Server defaults and others' fields are left out, so what
// differs from the declared inputs is drift.
func liveInputs(live *unstructured.Unstructured, declared resource.PropertyMap) resource.PropertyMap {
	live = live.DeepCopy()
	if len(declared) == 0 {
		for _, field := range [][]string{{"status"}, {"metadata", "managedFields"}, {"metadata", "uid"}, {"metadata", "resourceVersion"}, {"metadata", "generation"}, {"metadata", "creationTimestamp"}} {
			unstructured.RemoveNestedField(live.Object, field...)
		}
		return propertiesOf(live.Object)
	}
	was := objectOf(declared).Object
	if text, ok := was["stringData"].(map[string]any); ok && live.GetKind() == "Secret" {
		live.Object["stringData"] = decoded(live.Object["data"], text)
	}
	return markSecrets(propertiesOf(declaredPart(live.Object, was).(map[string]any)), declared)
}

// decoded is the write-only stringData of a Secret, read back from its data.
func decoded(data any, declared map[string]any) map[string]any {
	out := map[string]any{}
	encoded, _ := data.(map[string]any)
	for k := range declared {
		text, ok := encoded[k].(string)
		if !ok {
			continue
		}
		if raw, err := base64.StdEncoding.DecodeString(text); err == nil {
			out[k] = string(raw)
		}
	}
	return out
}

func declaredPart(live, declared any) any {
	switch was := declared.(type) {
	case map[string]any:
		is, ok := live.(map[string]any)
		if !ok {
			return live
		}
		out := map[string]any{}
		for k, v := range was {
			if now, ok := is[k]; ok {
				out[k] = declaredPart(now, v)
			} else if empty(v) {
				out[k] = v // an empty list or map is not stored
			}
		}
		return out
	case []any:
		is, ok := live.([]any)
		if !ok {
			return live
		}
		out := make([]any, len(is))
		for i, now := range is {
			out[i] = now
			if i < len(was) {
				out[i] = declaredPart(now, was[i])
			}
		}
		return out
	}
	return live
}

func empty(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}

// kindOf reads kubernetes:apps/v1:Deployment. The inputs say the same, but a resource that is only looked up has none.
func kindOf(t tokens.Type) (schema.GroupVersionKind, error) {
	parts := strings.Split(string(t), ":")
	if len(parts) != 3 || !strings.Contains(parts[1], "/") {
		return schema.GroupVersionKind{}, fmt.Errorf("type %s is no Kubernetes kind", t)
	}
	if strings.HasSuffix(parts[2], "Patch") {
		return schema.GroupVersionKind{}, fmt.Errorf("type %s: the kubernetes stand-in knows no Patch resources", t)
	}
	group, version, _ := strings.Cut(parts[1], "/")
	if group == "core" {
		group = ""
	}
	return schema.GroupVersionKind{Group: group, Version: version, Kind: parts[2]}, nil
}

func idOf(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

func splitID(id resource.ID) (namespace, name string) {
	if ns, n, ok := strings.Cut(string(id), "/"); ok {
		return ns, n
	}
	return "", string(id)
}
