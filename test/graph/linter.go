package graph

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// kube-linter cannot be had from the Go module proxy at any version, so the checks of it that apply are made here, named as there.
// Those that are not here, and why:
//   - required-annotation-email, required-label-owner: examples of how to demand annotations and labels; ours are demanded by issue/labels
//   - scc-deny-privileged-container: a kind of OpenShift
//   - priority-class-name: the priorities of a cluster belong to whoever runs it
//   - sorted-keys: a matter of YAML text, which the graph has not
//   - dnsconfig-options: asks for a resolver option (ndots) that only a cluster's owner can judge
//   - no-node-affinity: asks that pods choose their nodes; spreading over nodes and zones is asked by issue/spread
func linterChecks() []Check {
	return slices.Concat(linterContainers(), linterPods(), linterProbes(), linterWorkloads(), linterDangling(), linterAccess())
}

// eachContainer asks about every container, init containers as well.
func eachContainer(name string, question func(Pod, corev1.Container) string) Check {
	return eachPod(name, func(_ *View, p Pod) string {
		for _, c := range p.AllContainers() {
			if message := question(p, c); message != "" {
				return fmt.Sprintf("container %s: %s", c.Name, message)
			}
		}
		return ""
	})
}

func is(condition *bool) bool { return condition != nil && *condition }

var (
	secretName  = regexp.MustCompile(`(?i)secret`)
	digestImage = regexp.MustCompile(`@sha256:[0-9a-f]{64}$`)
	taggedImage = regexp.MustCompile(`:[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
)

func linterContainers() []Check {
	ask := func(name, message string, wrong func(Pod, corev1.Container) bool) Check {
		return eachContainer("kube-linter/"+name, func(p Pod, c corev1.Container) string {
			if wrong(p, c) {
				return message
			}
			return ""
		})
	}
	context := func(c corev1.Container) corev1.SecurityContext {
		if c.SecurityContext == nil {
			return corev1.SecurityContext{}
		}
		return *c.SecurityContext
	}
	return []Check{
		ask("drop-net-raw-capability", "NET_RAW is not dropped", func(_ Pod, c corev1.Container) bool {
			drops := context(c).Capabilities
			return drops == nil || !slices.Contains(drops.Drop, "ALL") && !slices.Contains(drops.Drop, "NET_RAW")
		}),
		ask("no-read-only-root-fs", "the root file system can be written", func(_ Pod, c corev1.Container) bool {
			return !is(context(c).ReadOnlyRootFilesystem)
		}),
		ask("privilege-escalation-container", "it may escalate privileges", func(_ Pod, c corev1.Container) bool {
			allowed := context(c).AllowPrivilegeEscalation
			return allowed == nil || *allowed
		}),
		ask("privileged-container", "it is privileged", func(_ Pod, c corev1.Container) bool { return is(context(c).Privileged) }),
		ask("unsafe-proc-mount", "/proc is not masked", func(_ Pod, c corev1.Container) bool {
			mount := context(c).ProcMount
			return mount != nil && *mount != corev1.DefaultProcMount
		}),
		ask("run-as-non-root", "it may run as root", func(p Pod, c corev1.Container) bool {
			user, nonRoot := context(c).RunAsUser, context(c).RunAsNonRoot
			if pod := p.Spec.SecurityContext; pod != nil {
				if user == nil {
					user = pod.RunAsUser
				}
				if nonRoot == nil {
					nonRoot = pod.RunAsNonRoot
				}
			}
			return !is(nonRoot) || user == nil || *user == 0
		}),
		ask("latest-tag", "the image has neither a digest nor a tag other than latest", func(_ Pod, c corev1.Container) bool {
			return !digestImage.MatchString(c.Image) && (!taggedImage.MatchString(c.Image) || strings.HasSuffix(c.Image, ":latest"))
		}),
		ask("unset-cpu-requirements", "no request or no limit of CPU", func(_ Pod, c corev1.Container) bool {
			return c.Resources.Requests.Cpu().IsZero() || c.Resources.Limits.Cpu().IsZero()
		}),
		ask("unset-memory-requirements", "no request or no limit of memory", func(_ Pod, c corev1.Container) bool {
			return c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero()
		}),
		ask("privileged-ports", "a port below 1024", func(_ Pod, c corev1.Container) bool {
			return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.ContainerPort < 1024 || p.HostPort > 0 })
		}),
		ask("ssh-port", "port 22", func(_ Pod, c corev1.Container) bool {
			return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.ContainerPort == 22 })
		}),
		eachContainer("kube-linter/env-var-secret", func(_ Pod, c corev1.Container) string {
			for _, e := range c.Env {
				if secretName.MatchString(e.Name) && e.Value != "" {
					return fmt.Sprintf("%s, whose name says secret, has its value in clear", e.Name)
				}
			}
			return ""
		}),
		eachContainer("kube-linter/read-secret-from-env-var", func(_ Pod, c corev1.Container) string {
			var from []string
			for _, e := range c.Env {
				if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
					from = append(from, e.Name)
				}
			}
			for _, e := range c.EnvFrom {
				if e.SecretRef != nil {
					from = append(from, e.SecretRef.Name)
				}
			}
			return unless(from == nil, "a secret comes by an environment variable, not as a file: %v", from)
		}),
		ask("duplicate-env-var", "a variable is set twice", func(_ Pod, c corev1.Container) bool {
			seen := map[string]bool{}
			return slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool {
				twice := seen[e.Name]
				seen[e.Name] = true
				return twice
			})
		}),
	}
}

var (
	sensitivePaths = []string{"/", "/boot", "/dev", "/etc", "/lib", "/proc", "/sys", "/usr"}
	safeSysctls    = []string{
		"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
		"net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time",
	}
)

func linterPods() []Check {
	ask := func(name, message string, wrong func(*View, Pod) bool) Check {
		return eachPod("kube-linter/"+name, func(v *View, p Pod) string {
			if wrong(v, p) {
				return message
			}
			return ""
		})
	}
	hostPath := func(p Pod, wrong func(path string) bool) bool {
		return slices.ContainsFunc(p.Spec.Volumes, func(v corev1.Volume) bool { return v.HostPath != nil && wrong(v.HostPath.Path) })
	}
	return []Check{
		ask("host-ipc", "it shares the node's IPC", func(_ *View, p Pod) bool { return p.Spec.HostIPC }),
		ask("host-network", "it shares the node's network", func(_ *View, p Pod) bool { return p.Spec.HostNetwork }),
		ask("host-pid", "it shares the node's processes", func(_ *View, p Pod) bool { return p.Spec.HostPID }),
		ask("docker-sock", "it mounts docker.sock", func(_ *View, p Pod) bool {
			return hostPath(p, func(path string) bool { return strings.HasSuffix(path, "docker.sock") })
		}),
		ask("sensitive-host-mounts", "it mounts a system folder of the node", func(_ *View, p Pod) bool {
			return hostPath(p, func(path string) bool { return slices.Contains(sensitivePaths, path) })
		}),
		ask("writable-host-mount", "it mounts a folder of the node", func(_ *View, p Pod) bool { return hostPath(p, func(string) bool { return true }) }),
		ask("unsafe-sysctls", "it sets an unsafe sysctl", func(_ *View, p Pod) bool {
			return p.Spec.SecurityContext != nil && slices.ContainsFunc(p.Spec.SecurityContext.Sysctls, func(s corev1.Sysctl) bool {
				return !slices.Contains(safeSysctls, s.Name)
			})
		}),
		ask("default-service-account", "it uses the namespace's default account", func(_ *View, p Pod) bool {
			return p.Spec.ServiceAccountName == "" || p.Spec.ServiceAccountName == "default"
		}),
		ask("deprecated-service-account-field", "serviceAccount is deprecated; serviceAccountName is its name", func(_ *View, p Pod) bool {
			return p.Spec.DeprecatedServiceAccount != "" && p.Spec.DeprecatedServiceAccount != p.Spec.ServiceAccountName
		}),
		ask("non-existent-service-account", "its service account is not there", func(v *View, p Pod) bool {
			return !slices.ContainsFunc(v.ServiceAccounts, func(a corev1.ServiceAccount) bool {
				return a.Name == p.Spec.ServiceAccountName && a.Namespace == p.Namespace
			})
		}),
		ask("non-isolated-pod", "no NetworkPolicy selects it", func(v *View, p Pod) bool {
			return !slices.ContainsFunc(v.Policies, func(n policy) bool { return n.Namespace == p.Namespace && selects(&n.Spec.PodSelector, p.Labels) })
		}),
		ask("restart-policy", "its restart policy does not fit what runs it", func(_ *View, p Pod) bool {
			if p.Long() {
				return p.Spec.RestartPolicy != "" && p.Spec.RestartPolicy != corev1.RestartPolicyAlways
			}
			return p.Kind != "PodTemplate" && p.Spec.RestartPolicy != corev1.RestartPolicyNever && p.Spec.RestartPolicy != corev1.RestartPolicyOnFailure
		}),
		ask("env-value-from", "a variable or volume refers to a Secret or ConfigMap that is not there", dangles),
	}
}

// dangles says whether a pod needs a Secret, a ConfigMap or a key of one that nothing makes. What assistctl makes is optional there.
func dangles(v *View, p Pod) bool {
	maps := map[string][]string{}
	for _, c := range v.ConfigMaps {
		maps[c.Name] = keysOf(c.Data, c.BinaryData)
	}
	secrets := map[string][]string{}
	for _, s := range v.Secrets {
		secrets[s.Name] = keysOf(s.StringData, s.Data)
	}
	missing := func(have map[string][]string, name, key string, optional *bool) bool {
		keys, ok := have[name]
		return !is(optional) && (!ok || key != "" && !slices.Contains(keys, key))
	}
	for _, c := range p.AllContainers() {
		for _, e := range c.Env {
			if e.ValueFrom == nil {
				continue
			}
			if ref := e.ValueFrom.ConfigMapKeyRef; ref != nil && missing(maps, ref.Name, ref.Key, ref.Optional) {
				return true
			}
			if ref := e.ValueFrom.SecretKeyRef; ref != nil && missing(secrets, ref.Name, ref.Key, ref.Optional) {
				return true
			}
		}
	}
	items := func(have map[string][]string, name string, items []corev1.KeyToPath, optional *bool) bool {
		return missing(have, name, "", optional) ||
			slices.ContainsFunc(items, func(k corev1.KeyToPath) bool { return missing(have, name, k.Key, optional) })
	}
	return slices.ContainsFunc(p.Spec.Volumes, func(volume corev1.Volume) bool {
		if s := volume.Secret; s != nil && items(secrets, s.SecretName, s.Items, s.Optional) {
			return true
		}
		if c := volume.ConfigMap; c != nil && items(maps, c.Name, c.Items, c.Optional) {
			return true
		}
		return volume.Projected != nil && slices.ContainsFunc(volume.Projected.Sources, func(source corev1.VolumeProjection) bool {
			return source.Secret != nil && items(secrets, source.Secret.Name, source.Secret.Items, source.Secret.Optional) ||
				source.ConfigMap != nil && items(maps, source.ConfigMap.Name, source.ConfigMap.Items, source.ConfigMap.Optional)
		})
	})
}
