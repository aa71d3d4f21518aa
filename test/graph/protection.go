package graph

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// Data is what must survive a `pulumi destroy`, and what opens it: without the key or the password the data is as good as gone.
func (v *View) holdsData(r *Resource) bool {
	if r.IsObject() && r.Namespace() != v.namespace() && r.ObjectName() != v.namespace() {
		return false // of the monitoring, which measures anew
	}
	switch r.Type {
	case "kubernetes:core/v1:Namespace", "kubernetes:core/v1:PersistentVolumeClaim",
		"aws:kms/key:Key", "aws:ecr/repository:Repository",
		"aws:secretsmanager/secret:Secret":
		return true
	case "kubernetes:apps/v1:StatefulSet":
		return len(List(r.Inputs, "spec", "volumeClaimTemplates")) > 0
	}
	if strings.HasPrefix(r.Type, "aws:s3/") {
		return true
	}
	if madeAnew(r) {
		return false
	}
	// Generated once: passwords, keys, and the Secrets that hold them. The ingress's certificate opens no data.
	made := strings.HasPrefix(r.Type, "random:") || strings.HasPrefix(r.Type, "tls:") || r.Type == "kubernetes:core/v1:Secret"
	return made && r.Custom && !strings.Contains(r.Parent, "assistant:platform:Ingress")
}

// madeAnew is what another content takes the place of, while what it was made from stays: protected, it would end every update that has one.
func madeAnew(r *Resource) bool {
	return r.Type == "aws:secretsmanager/secretVersion:SecretVersion" || strings.HasPrefix(r.Type, "tls:") && r.Type != "tls:index/privateKey:PrivateKey"
}

// protected says whether the environment's data is to be kept: all but dev's, which a developer makes and throws away.
func (v *View) protected() bool { return v.Environment != "dev" }

func protectionChecks() []Check {
	ask := func(name, message string, wrong func(*View, *Resource) bool) Check {
		return Check{Name: "protection/" + name, Run: func(v *View) []Finding {
			var found findings
			for _, r := range v.Resources {
				if wrong(v, r) {
					found.say(r, "%s", message)
				}
			}
			return found
		}}
	}
	is := func(r *Resource, types ...string) bool { return slices.Contains(types, r.Type) }
	return []Check{
		ask("protect", "pulumi destroy would not refuse it", func(v *View, r *Resource) bool { return v.protected() && v.holdsData(r) && !r.Protect }),
		ask("retain", "it is deleted when the program no longer has it", func(v *View, r *Resource) bool {
			return v.protected() && v.holdsData(r) && !r.RetainOnDelete
		}),
		ask("anew", "it could never be made anew", func(_ *View, r *Resource) bool { return madeAnew(r) && r.Protect }),
		ask("versions", "a destroyed stack takes what Secrets Manager holds with it", func(v *View, r *Resource) bool {
			return v.protected() && r.Type == "aws:secretsmanager/secretVersion:SecretVersion" && !r.RetainOnDelete
		}),
		ask("claims", "its volume claims go with it", func(_ *View, r *Resource) bool {
			policy := Map(r.Inputs, "spec", "persistentVolumeClaimRetentionPolicy")
			return r.Kind() == "StatefulSet" && (policy["whenDeleted"] != "Retain" || policy["whenScaled"] != "Retain")
		}),
		ask("volumes", "a volume goes with its claim", func(_ *View, r *Resource) bool {
			return r.Kind() == "StorageClass" && r.Inputs["reclaimPolicy"] != "Retain"
		}),
		ask("force", "it is deleted with what is in it", func(_ *View, r *Resource) bool {
			return r.Inputs["forceDestroy"] == true || r.Inputs["forceDelete"] == true
		}),
		ask("recovery", "a deleted one cannot be brought back for a week at least", func(_ *View, r *Resource) bool {
			return is(r, "aws:secretsmanager/secret:Secret") && Number(r.Inputs, "recoveryWindowInDays") < 7 ||
				is(r, "aws:kms/key:Key") && Number(r.Inputs, "deletionWindowInDays") < 7
		}),
		ask("names", "it would be made anew under another name, and the data left behind", func(v *View, r *Resource) bool {
			return v.holdsData(r) && (r.Kind() != "" && r.ObjectName() == "" || strings.HasPrefix(r.Type, "aws:s3/bucketV2:") && String(r.Inputs, "bucket") == "")
		}),
	}
}

// secretChecks look for secrets that are not kept.
func secretChecks() []Check {
	return []Check{
		{Name: "secrets/clear", Run: secretsInClear},
		{Name: "secrets/place", Run: secretsInWrongPlaces},
		{Name: "secrets/outputs", Run: secretsInOutputs},
		{Name: "secrets/generator", Run: func(v *View) []Finding {
			var found findings
			for _, r := range v.Find(func(r *Resource) bool {
				return strings.Contains(r.Type, "RandomString") || strings.Contains(r.Type, "RandomId")
			}) {
				found.say(r, "Pulumi keeps it in clear; a RandomPassword is a secret")
			}
			return found
		}},
		{Name: "secrets/length", Run: func(v *View) []Finding {
			var found findings
			for _, r := range v.Find(Type("random:index/randomPassword:RandomPassword")) {
				if Number(r.Inputs, "length") < 20 {
					found.say(r, "it is short enough to be guessed")
				}
			}
			return found
		}},
		eachPod("secrets/files", secretFiles),
		{Name: "secrets/manager", Run: secretsInManager},
	}
}

// secretsInClear searches every property of every resource and every output for every known secret.
func secretsInClear(v *View) []Finding {
	var found findings
	var needles []string
	for _, known := range v.Known {
		needles = append(needles, known, base64.StdEncoding.EncodeToString([]byte(known)))
	}
	search := func(where string, value any) {
		walk(value, "", false, func(path string, leaf any, secret bool) {
			text, ok := leaf.(string)
			if ok && !secret && len(text) >= 8 && slices.ContainsFunc(needles, func(n string) bool { return strings.Contains(text, n) }) {
				found.on(where, "%s shows a secret in clear", path)
			}
		})
	}
	for _, r := range v.Resources {
		search(r.String(), r.Inputs)
	}
	search("outputs", v.Outputs)
	for _, w := range v.Warnings {
		search("log", w)
	}
	return found
}

// secretsInWrongPlaces finds secrets where Kubernetes shows them to whoever may look at pods, encrypted in Pulumi's state or not.
func secretsInWrongPlaces(v *View) []Finding {
	var found findings
	for _, r := range v.Find((*Resource).IsObject) {
		if r.Kind() == "Secret" {
			walk(map[string]any{"metadata": r.Inputs["metadata"]}, "", false, v.exposed(r, &found))
			for _, key := range []string{"data", "stringData"} {
				walk(r.Inputs[key], key, false, func(path string, leaf any, secret bool) {
					if leaf != nil && !secret {
						found.say(r, "%s is not secret for Pulumi", path)
					}
				})
			}
			continue
		}
		walk(r.Inputs, "", false, v.exposed(r, &found))
	}
	return found
}

func (v *View) exposed(r *Resource, found *findings) func(string, any, bool) {
	return func(path string, leaf any, _ bool) {
		text, ok := leaf.(string)
		if ok && slices.ContainsFunc(v.Known, func(known string) bool { return strings.Contains(text, known) }) {
			found.say(r, "%s holds a secret; a mounted file of a Secret is its place", path)
		}
	}
}

func secretsInOutputs(v *View) []Finding {
	var found findings
	for name, value := range v.Outputs {
		_, secret := value.(Secret)
		if name == "kubeconfig" != secret {
			found.on("outputs", "%s: secret is %v", name, secret)
		}
		walk(value, name, false, func(path string, _ any, hidden bool) {
			if hidden && name != "kubeconfig" {
				found.on("outputs", "%s is a secret: assistctl could not read the output", path)
			}
		})
	}
	return found
}

// secretFiles wants mounted secrets to be readable by the pod's own group at most, and not writable.
func secretFiles(_ *View, p Pod) string {
	secret := map[string]bool{}
	for _, volume := range p.Spec.Volumes {
		if volume.Secret == nil {
			continue
		}
		secret[volume.Name] = true
		if mode := volume.Secret.DefaultMode; mode == nil || *mode&0o337 != 0 {
			return fmt.Sprintf("volume %s: anyone in the pod may read it", volume.Name)
		}
	}
	for _, c := range p.AllContainers() {
		for _, m := range c.VolumeMounts {
			if secret[m.Name] && !m.ReadOnly {
				return fmt.Sprintf("container %s mounts the secret %s for writing", c.Name, m.Name)
			}
		}
	}
	return ""
}

// secretsInManager wants each Secret of the environment in Secrets Manager, where the stack uses AWS.
func secretsInManager(v *View) []Finding {
	if len(v.Find(Type("aws:eks/cluster:Cluster"))) == 0 {
		return nil
	}
	var found findings
	for _, s := range v.Find(func(r *Resource) bool { return r.Kind() == "Secret" && v.holdsData(r) }) {
		versions := v.Find(Type("aws:secretsmanager/secretVersion:SecretVersion"), func(r *Resource) bool {
			return strings.HasSuffix(r.Name, "/"+s.ObjectName())
		})
		if len(versions) != 1 {
			found.say(s, "it is %d times in Secrets Manager, want once", len(versions))
		}
	}
	for _, s := range v.Find(Type("aws:secretsmanager/secret:Secret")) {
		if String(s.Inputs, "kmsKeyId") == "" {
			found.say(s, "it is not encrypted by a key of ours")
		}
		versions := v.Find(Type("aws:secretsmanager/secretVersion:SecretVersion"), func(r *Resource) bool { return r.Name == s.Name })
		if len(versions) != 1 {
			found.say(s, "it has %d values, want one", len(versions))
			continue
		}
		if _, secret := versions[0].Inputs["secretString"].(Secret); !secret {
			found.say(s, "its value is not secret for Pulumi")
		}
	}
	return found
}
