package providers

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

// inputsOf is the plain struct behind an SDK's Args type: its tags are the names that a resource takes, its field types their kinds.
func inputsOf(args pulumi.Input) reflect.Type { return args.ElementType() }

// mistyped says which inputs the SDK's types would not allow: names that they do not know, wrong kinds, what is required and missing.
func mistyped(inputs resource.PropertyMap, args reflect.Type) []plugin.CheckFailure {
	var failures []plugin.CheckFailure
	for _, f := range structFailures("", inputs, args) {
		path, reason, _ := strings.Cut(f, ": ")
		failures = append(failures, plugin.CheckFailure{Property: resource.PropertyKey(path), Reason: reason})
	}
	return failures
}

func structFailures(path string, value resource.PropertyMap, t reflect.Type) []string {
	known := map[string]bool{}
	var failures []string
	for field := range fieldsOf(t) {
		name, _, _ := strings.Cut(field.Tag.Get("pulumi"), ",")
		known[name] = true
		v, ok := value[resource.PropertyKey(name)]
		if !ok || v.IsNull() {
			if required(field.Type) {
				failures = append(failures, under(path, name)+": is required and missing")
			}
			continue
		}
		failures = append(failures, valueFailures(under(path, name), v, field.Type)...)
	}
	for _, k := range value.StableKeys() {
		if !known[string(k)] && !strings.HasPrefix(string(k), "__") {
			failures = append(failures, fmt.Sprintf("%s: is no input; known are %s", under(path, string(k)), strings.Join(sortedKeys(known), ", ")))
		}
	}
	return failures
}

func valueFailures(path string, v resource.PropertyValue, t reflect.Type) []string {
	v = plain(v)
	if v.IsComputed() {
		return nil
	}
	wrong := func(want string) []string {
		return []string{fmt.Sprintf("%s: is %s, and must be %s", path, v.TypeString(), want)}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return valueFailures(path, v, t.Elem())
	case reflect.String:
		if !v.IsString() {
			return wrong("a string")
		}
	case reflect.Bool:
		if !v.IsBool() {
			return wrong("a boolean")
		}
	case reflect.Int, reflect.Float64:
		if !v.IsNumber() {
			return wrong("a number")
		}
	case reflect.Slice:
		if !v.IsArray() {
			return wrong("a list")
		}
		var failures []string
		for i, item := range v.ArrayValue() {
			failures = append(failures, valueFailures(fmt.Sprintf("%s[%d]", path, i), item, t.Elem())...)
		}
		return failures
	case reflect.Map:
		if !v.IsObject() {
			return wrong("a map")
		}
		var failures []string
		for k, item := range v.ObjectValue() {
			failures = append(failures, valueFailures(under(path, string(k)), item, t.Elem())...)
		}
		slices.Sort(failures)
		return failures
	case reflect.Struct:
		if !v.IsObject() {
			return wrong("an object")
		}
		return structFailures(path, v.ObjectValue(), t)
	}
	return nil
}

// fieldsOf goes through the fields that are properties.
func fieldsOf(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for f := range t.Fields() {
			if f.Tag.Get("pulumi") != "" && !yield(f) {
				return
			}
		}
	}
}

// required: a scalar or an object that is no pointer. Of lists and maps the types do not say.
func required(t reflect.Type) bool {
	return !slices.Contains([]reflect.Kind{reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface}, t.Kind())
}

func under(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func sortedKeys(m map[string]bool) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
