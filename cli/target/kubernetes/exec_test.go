package kubernetes

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/smart-assistant/platform/cli/target"
)

// variables are a container's plain variables.
func variables(c *corev1.Container) map[string]string {
	all := map[string]string{}
	for _, v := range c.Env {
		if _, twice := all[v.Name]; twice {
			all[v.Name] = "twice"
			continue
		}
		all[v.Name] = v.Value
	}
	return all
}

// A template has the settings of the release that runs; another release brings its own. What is the platform's wins over both.
func TestFill(t *testing.T) {
	template := func() *corev1.PodTemplateSpec {
		return &corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{annotationSettings: `{"OLD":"1","KEPT":"old","ASSISTD_LISTEN":"evil"}`}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "proxy"}, {Name: serviceImage, Env: []corev1.EnvVar{
				{Name: "OLD", Value: "1"},
				{Name: "KEPT", Value: "old"},
				{Name: "ASSISTD_LISTEN", Value: "0.0.0.0:8080"},
				{Name: "ASSISTD_REPLICA", ValueFrom: &corev1.EnvVarSource{}},
				{Name: errorFileVariable, Value: "elsewhere"},
			}}}},
		}
	}
	filled := template()
	fill(filled, "registry/assistd@sha256:1", map[string]string{"KEPT": "new", "NEW": "2", "ASSISTD_LISTEN": "127.0.0.1:1", "ASSISTD_REPLICA": "x"},
		map[string]string{errorFileVariable: lastWords})
	run := container(&filled.Spec, serviceImage)
	want := map[string]string{"KEPT": "new", "NEW": "2", "ASSISTD_LISTEN": "0.0.0.0:8080", "ASSISTD_REPLICA": "", errorFileVariable: lastWords}
	if got := variables(run); !maps.Equal(got, want) {
		t.Errorf("variables %v, want %v", got, want)
	}
	if run.Image != "registry/assistd@sha256:1" || filled.Spec.Containers[0].Image != "" {
		t.Errorf("images %+v", filled.Spec.Containers)
	}
}

func TestFirstWord(t *testing.T) {
	for _, test := range [][2]string{{"migrate", "migrate"}, {"--version", "version"}, {"a/b;rm", "abrm"}, {"UP!", "run"}, {"", "run"}} {
		if got := firstWord([]string{test[0]}); got != test[1] {
			t.Errorf("%q: %q, want %q", test[0], got, test[1])
		}
	}
	if got := firstWord(nil); got != "run" {
		t.Error(got)
	}
}

func execCluster(t *testing.T) *cluster {
	t.Helper()
	return testCluster(
		&corev1.PodTemplate{ObjectMeta: metav1.ObjectMeta{Name: execTemplate, Namespace: "assistant-prod"}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{labelComponent: "exec"}},
			Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: serviceImage}},
				Volumes:    []corev1.Volume{{Name: "secrets", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secretName}}}},
			},
		}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secretName, Namespace: "assistant-prod"}, Data: map[string][]byte{
			databaseURLKey: []byte("live"), "ca.crt": []byte("ca"), "jwt-key.pem": []byte("key"),
		}},
	)
}

// Another database's address holds a password: it stands in a Secret of the Job's own, and nowhere else.
func TestExecOnSecret(t *testing.T) {
	c := execCluster(t)
	const address = "postgres://assistd:hidden@10.0.0.9/assistant"
	job, err := c.newJob(t.Context(), inside{build: target.Build{SHA256: newDigest}, args: []string{"migrate", "up"}, databaseURL: address}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if text := mustJSON(job); strings.Contains(text, "hidden") || !strings.Contains(text, "registry/assistd@sha256:"+newDigest) {
		t.Errorf("the Job: %s", text)
	}
	s, err := c.client.CoreV1().Secrets(c.namespace()).Get(t.Context(), job.Spec.Template.Spec.Volumes[0].Secret.SecretName, metav1.GetOptions{})
	if err != nil || s.Name == secretName || string(s.Data[databaseURLKey]) != address || string(s.Data["ca.crt"]) != "ca" || !metav1.IsControlledBy(s, job) {
		t.Errorf("the Secret: %+v %v", s, err)
	}
	live, err := c.newJob(t.Context(), inside{build: target.Build{SHA256: newDigest}, args: []string{"version"}}, time.Minute)
	if err != nil || live.Spec.Template.Spec.Volumes[0].Secret.SecretName != secretName || *live.Spec.BackoffLimit != 0 || live.Spec.TTLSecondsAfterFinished == nil {
		t.Errorf("a Job on the live database: %s %v", mustJSON(live), err)
	}
}

func TestExecWithoutTemplate(t *testing.T) {
	c := testCluster()
	if _, err := c.newJob(t.Context(), inside{args: []string{"version"}}, time.Minute); !errors.Is(err, target.ErrDown) {
		t.Errorf("newJob returned %v", err)
	}
}

func TestSkipping(t *testing.T) {
	var out strings.Builder
	s := &skipping{to: &out}
	for _, part := range []string{"one\ntw", "o\n"} {
		if n, err := s.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	s.skip = s.passed // the stream broke off, and begins again
	for _, part := range []string{"one", "\ntwo\nth", "ree\n"} {
		if n, err := s.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	if out.String() != "one\ntwo\nthree\n" {
		t.Errorf("%q", out.String())
	}
}
