package graph

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

// View is a graph with its Kubernetes objects as the types of their APIs, for the checks to read.
type View struct {
	*Graph
	Pods            []Pod
	Deployments     []appsv1.Deployment
	StatefulSets    []appsv1.StatefulSet
	CronJobs        []batchv1.CronJob
	Jobs            []batchv1.Job
	Services        []corev1.Service
	ServiceAccounts []corev1.ServiceAccount
	ConfigMaps      []corev1.ConfigMap
	Claims          []corev1.PersistentVolumeClaim
	Namespaces      []corev1.Namespace
	Secrets         []corev1.Secret
	Ingresses       []networkingv1.Ingress
	Policies        []networkingv1.NetworkPolicy
	Autoscalers     []autoscalingv2.HorizontalPodAutoscaler
	Budgets         []policyv1.PodDisruptionBudget
	Roles           []rbacv1.Role
	ClusterRoles    []rbacv1.ClusterRole
	Bindings        []rbacv1.RoleBinding
	ClusterBindings []rbacv1.ClusterRoleBinding

	undecodable []Finding // what its own API would refuse
	decoded     map[*Resource]any
}

// Pod is a template of pods and what makes pods of it.
type Pod struct {
	Owner     *Resource
	Kind      string // of the owner
	Name      string // of the owner
	Namespace string
	Replicas  int32
	corev1.PodTemplateSpec
}

// String names the pod in messages: "StatefulSet postgres".
func (p Pod) String() string { return p.Kind + " " + p.Name }

// Long says whether the pod is meant to run for good, rather than to end.
func (p Pod) Long() bool {
	return p.Kind == "Deployment" || p.Kind == "StatefulSet" || p.Kind == "DaemonSet"
}

// Component is what the pod is, by its label.
func (p Pod) Component() string { return p.Labels["app.kubernetes.io/component"] }

// AllContainers are the init containers and the containers.
func (p Pod) AllContainers() []corev1.Container {
	return append(append([]corev1.Container{}, p.Spec.InitContainers...), p.Spec.Containers...)
}

// NewView reads the objects of a graph.
func NewView(g *Graph) *View { return newView(g, nil) }

// newView takes what another view has read of resources that both graphs share.
func newView(g *Graph, decoded map[*Resource]any) *View {
	v := &View{Graph: g, decoded: map[*Resource]any{}}
	maps.Copy(v.decoded, decoded)
	for _, r := range g.Resources {
		if r.IsObject() {
			v.add(r)
		}
	}
	return v
}

// read appends the object to a list of its type; a field that the type does not have is a finding.
func read[T any](v *View, r *Resource, list *[]T) *T {
	if object, ok := v.decoded[r].(*T); ok {
		if list != nil {
			*list = append(*list, *object)
		}
		return object
	}
	var object T
	text, err := json.Marshal(Reveal(r.Inputs))
	if err == nil {
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.DisallowUnknownFields()
		err = decoder.Decode(&object)
	}
	if err != nil {
		v.undecodable = append(v.undecodable, Finding{Object: r.String(), Message: fmt.Sprintf("its API does not know it: %v", err)})
		return nil
	}
	v.decoded[r] = &object
	if list != nil {
		*list = append(*list, object)
	}
	return &object
}

func (v *View) add(r *Resource) {
	pod := func(replicas *int32, namespace string, t corev1.PodTemplateSpec) {
		n := int32(1)
		if replicas != nil {
			n = *replicas
		}
		v.Pods = append(v.Pods, Pod{Owner: r, Kind: r.Kind(), Name: r.ObjectName(), Namespace: namespace, Replicas: n, PodTemplateSpec: t})
	}
	switch r.Kind() {
	case "Deployment":
		if d := read(v, r, &v.Deployments); d != nil {
			pod(d.Spec.Replicas, d.Namespace, d.Spec.Template)
		}
	case "StatefulSet":
		if s := read(v, r, &v.StatefulSets); s != nil {
			pod(s.Spec.Replicas, s.Namespace, s.Spec.Template)
		}
	case "DaemonSet":
		if d := read[appsv1.DaemonSet](v, r, nil); d != nil {
			pod(nil, d.Namespace, d.Spec.Template)
		}
	case "CronJob":
		if c := read(v, r, &v.CronJobs); c != nil {
			pod(nil, c.Namespace, c.Spec.JobTemplate.Spec.Template)
		}
	case "Job":
		if j := read(v, r, &v.Jobs); j != nil {
			pod(nil, j.Namespace, j.Spec.Template)
		}
	case "PodTemplate":
		if t := read[corev1.PodTemplate](v, r, nil); t != nil {
			pod(nil, t.Namespace, t.Template)
		}
	default:
		v.addPlain(r)
	}
}

func (v *View) addPlain(r *Resource) {
	switch r.Kind() {
	case "Service":
		read(v, r, &v.Services)
	case "ServiceAccount":
		read(v, r, &v.ServiceAccounts)
	case "ConfigMap":
		read(v, r, &v.ConfigMaps)
	case "Secret":
		read(v, r, &v.Secrets)
	case "PersistentVolumeClaim":
		read(v, r, &v.Claims)
	case "Namespace":
		read(v, r, &v.Namespaces)
	case "Ingress":
		read(v, r, &v.Ingresses)
	case "NetworkPolicy":
		read(v, r, &v.Policies)
	case "HorizontalPodAutoscaler":
		read(v, r, &v.Autoscalers)
	case "PodDisruptionBudget":
		read(v, r, &v.Budgets)
	case "Role":
		read(v, r, &v.Roles)
	case "ClusterRole":
		read(v, r, &v.ClusterRoles)
	case "RoleBinding":
		read(v, r, &v.Bindings)
	case "ClusterRoleBinding":
		read(v, r, &v.ClusterBindings)
	}
}
