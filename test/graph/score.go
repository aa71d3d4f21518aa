package graph

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

// kube-score runs as a program, built by tools/build.sh from tools/kube-score.

// scoreOptional are its checks that are off by default, and here on.
var scoreOptional = []string{"container-seccomp-profile", "container-ports-check"}

// scoreIgnored are its checks that do not apply, each with its reason.
var scoreIgnored = map[string]string{
	"container-image-pull-policy": "wants Always; an image by digest is what it says, and a registry that is away must not stop a restart",
	"stable-version":              "knows the API versions of Kubernetes as of its own release; the API server of test/cluster refuses what is gone",
}

// Score runs kube-score on the graph's objects. What it does not know, a PodTemplate, goes in as a Pod.
func Score(g *Graph) ([]Finding, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	manifest, err := g.manifest()
	if err != nil {
		return nil, err
	}
	args := []string{"score", "--output-format", "json", "--output-version", "v2", "--kubernetes-version", "v1.34"}
	for _, check := range scoreOptional {
		args = append(args, "--enable-optional-test", check)
	}
	for check := range scoreIgnored {
		args = append(args, "--ignore-test", check)
	}
	cmd := exec.Command(filepath.Join(root, "bin", "kube-score"), append(args, "-")...)
	var out, problems bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(manifest), &out, &problems
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) { // it exits with 1 when it finds something
		return nil, fmt.Errorf("run kube-score (build it by: tools/build.sh kube-score): %w", err)
	}
	return scores(out.Bytes(), problems.String())
}

func scores(out []byte, problems string) ([]Finding, error) {
	var objects []struct {
		TypeMeta   struct{ Kind string } `json:"type_meta"`
		ObjectMeta struct{ Name string } `json:"object_meta"`
		Checks     []struct {
			Check    struct{ ID string }
			Grade    int
			Skipped  bool
			Comments []struct{ Path, Summary string }
		}
	}
	if err := json.Unmarshal(out, &objects); err != nil {
		return nil, fmt.Errorf("read what kube-score says: %w: %s", err, problems)
	}
	if len(objects) == 0 {
		return nil, fmt.Errorf("kube-score looked at nothing: %s", problems)
	}
	var found findings
	for _, o := range objects {
		for _, c := range o.Checks {
			if c.Skipped || c.Grade >= 10 {
				continue
			}
			message := []string{fmt.Sprintf("grade %d of 10", c.Grade)}
			for _, comment := range c.Comments {
				message = append(message, comment.Path+" "+comment.Summary)
			}
			found = append(found, Finding{Check: "kube-score/" + c.Check.ID, Object: o.TypeMeta.Kind + " " + o.ObjectMeta.Name, Message: strings.Join(message, "; ")})
		}
	}
	return found, nil
}

// manifest is the graph's objects as one YAML stream.
func (g *Graph) manifest() ([]byte, error) {
	var stream bytes.Buffer
	for _, object := range g.Objects() {
		if object["kind"] == "PodTemplate" {
			meta := Map(clone(object), "template", "metadata")
			meta["name"], meta["namespace"] = String(object, "metadata", "name"), String(object, "metadata", "namespace")
			object = map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": Map(object, "template", "spec")}
		}
		text, err := yaml.Marshal(object)
		if err != nil {
			return nil, fmt.Errorf("write %v as YAML: %w", object["kind"], err)
		}
		fmt.Fprintf(&stream, "---\n%s", text)
	}
	return stream.Bytes(), nil
}
