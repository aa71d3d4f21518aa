package graph

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/smart-assistant/platform/cli/target/kubernetes/outputs"
	"github.com/smart-assistant/platform/infra/environment"
)

// What the stack says of its environment and what assistctl reads are two types, since cli does not import infra. They agree: each graph's
// output is read by both without anything left over, and written by both as it was.
func TestOutputsAgree(t *testing.T) {
	everyVariant(t, func(t *testing.T, g *Graph) {
		text, err := json.Marshal(g.Outputs["environment"])
		if err != nil {
			t.Fatal(err)
		}
		roundTrip[environment.Outputs](t, text)
		roundTrip[outputs.Outputs](t, text)
		read, err := outputs.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if read.Name != g.Environment || read.Release == nil || read.Release.Version != "v1.0.0" {
			t.Errorf("assistctl reads %+v", read)
		}
		for _, c := range NewView(g).ConfigMaps {
			if c.Name != "assistctl" {
				continue
			}
			var inPods, inOutput any
			if !parseJSON(c.Data["environment.json"], &inPods) || !parseJSON(string(text), &inOutput) || !reflect.DeepEqual(inPods, inOutput) {
				t.Error("pods read another description than operators")
			}
		}
	})
}

func roundTrip[T any](t *testing.T, text []byte) {
	t.Helper()
	var o T
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&o); err != nil {
		t.Errorf("%T: %v", o, err)
		return
	}
	again, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var before, after any
	if !parseJSON(string(text), &before) || !parseJSON(string(again), &after) || !reflect.DeepEqual(before, after) {
		t.Errorf("%T loses something:\n%s\n%s", o, text, again)
	}
}

// The types themselves, so that a member that happens to be empty in every environment is compared as well.
func TestOutputTypesAgree(t *testing.T) {
	theirs, ours := shape(reflect.TypeFor[outputs.Outputs]()), shape(reflect.TypeFor[environment.Outputs]())
	if theirs != ours {
		t.Errorf("cli/target/kubernetes/outputs:\n%s\ninfra/environment:\n%s", theirs, ours)
	}
}

func shape(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return "*" + shape(t.Elem())
	case reflect.Map:
		return "map[" + shape(t.Key()) + "]" + shape(t.Elem())
	case reflect.Slice:
		return "[]" + shape(t.Elem())
	case reflect.Struct:
		var fields []string
		for f := range t.Fields() {
			fields = append(fields, f.Tag.Get("json")+" "+shape(f.Type))
		}
		return "{" + strings.Join(fields, "; ") + "}"
	}
	return t.Kind().String()
}
