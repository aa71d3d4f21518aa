package main

import (
	"encoding/json"
	"os"
	"testing"

	"go.yaml.in/yaml/v3"
)

// stackFile is the configuration in Pulumi.<stack>.yaml as Pulumi passes it to the program: texts as they are, sections as JSON.
func stackFile(t *testing.T, stack string) string {
	t.Helper()
	content, err := os.ReadFile("../Pulumi." + stack + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Config map[string]yaml.Node `yaml:"config"`
	}
	if err := yaml.Unmarshal(content, &file); err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for key, node := range file.Config {
		if node.Kind == yaml.ScalarNode {
			values[key] = node.Value
			continue
		}
		var section any
		if err := node.Decode(&section); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(section)
		if err != nil {
			t.Fatal(err)
		}
		values[key] = string(text)
	}
	all, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}
