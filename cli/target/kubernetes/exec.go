package kubernetes

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/smart-assistant/platform/cli/target"
)

const (
	// The service writes the error that ends a command to this file instead of standard error: in a pod's log the two streams are one,
	// and what a command prints is read by programs. The file is where Kubernetes looks for a container's last words.
	errorFileVariable = "ASSISTD_ERROR_FILE"
	lastWords         = "/dev/termination-log"

	databaseURLKey = "database-url"
	jobKeptFor     = 10 * time.Minute // when nobody is left to delete it
	podGrace       = 10 * time.Second // for a command whose caller has gone
)

// Exec implements target.Target: a Job from the stack's PodTemplate `exec`. stdout is the pod's log as it grows, stderr what the build
// said last. When ctx ends, so does the command. When this process is killed, the command goes on; a migration is safe from another one
// by the database's lock.
func (e *Environment) Exec(ctx context.Context, b target.Build, settings map[string]string, args []string, stdout, stderr io.Writer) error {
	c, err := e.reach(ctx)
	if err != nil {
		return err
	}
	return e.exec(ctx, c, inside{build: b, settings: settings, args: args}, stdout, stderr)
}

// ExecOn is Exec against another database than the live one: a restored server in a pod. The address holds a password and goes to the
// command by a file, in a Secret that is gone with the Job.
func (e *Environment) ExecOn(ctx context.Context, databaseURL string, b target.Build, args []string, stdout, stderr io.Writer) error {
	c, err := e.reach(ctx)
	if err != nil {
		return err
	}
	return e.exec(ctx, c, inside{build: b, args: args, databaseURL: databaseURL}, stdout, stderr)
}

// inside is a command of a build, to be run in the environment.
type inside struct {
	build       target.Build
	settings    map[string]string
	args        []string
	databaseURL string // "" is the live one
}

func (e *Environment) exec(ctx context.Context, c *cluster, do inside, stdout, stderr io.Writer) error {
	what := fmt.Sprintf("run assistd %q of %s in %s", do.args, do.build.Version, c.namespace())
	job, err := c.newJob(ctx, do, e.config.ExecTimeout)
	if err != nil {
		return fmt.Errorf("%s: %w", what, unreachable(err))
	}
	inSight := true
	defer func() {
		if inSight { // else it goes on, and ends by itself
			c.deleteJob(ctx, job.Name)
		}
	}()
	pod, err := c.begun(ctx, job.Name, e.config.ExecTimeout)
	if err == nil {
		err = c.letRun(ctx, job.Name)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, unreachable(err))
	}
	kept := tail{limit: 2000}
	if stdout == nil {
		stdout = io.Discard
	}
	logErr := c.follow(ctx, pod, io.MultiWriter(stdout, &kept))
	ended, err := c.ended(ctx, pod)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := errors.Join(err, logErr); err != nil {
		inSight = !errors.Is(unreachable(err), target.ErrUnreachable)
		return fmt.Errorf("%s: %w", what, unreachable(err))
	}
	if stderr != nil {
		if _, err := io.WriteString(stderr, ended.Message); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	if ended.ExitCode == 0 {
		return nil
	}
	failed := &target.ExitError{Args: do.args, Code: int(ended.ExitCode), Stderr: strings.TrimSpace(ended.Message)}
	switch {
	case ended.Reason == "OOMKilled":
		failed.Stderr = strings.TrimSpace("it needed more memory than its pod has; " + failed.Stderr)
	case failed.Stderr == "": // a build that knows nothing of the file, or one that panicked
		failed.Stderr = kept.String()
	}
	if ended.Signal != 0 || ended.ExitCode > 128 {
		failed.Code = -1
	}
	return failed
}

// newJob makes the Job, and for another database the Secret with that one's address, which goes with the Job.
func (c *cluster) newJob(ctx context.Context, do inside, patience time.Duration) (*batchv1.Job, error) {
	template, err := c.template(ctx, execTemplate)
	if err != nil {
		return nil, err
	}
	fill(template, c.image(serviceImage, "sha256:"+do.build.SHA256), c.merged(do.settings), map[string]string{errorFileVariable: lastWords})
	run := container(&template.Spec, serviceImage)
	run.Args = do.args
	run.TerminationMessagePath = lastWords
	name := "exec-" + firstWord(do.args) + "-" + strings.ToLower(rand.Text()[:8])
	if do.databaseURL != "" {
		replaceSecret(&template.Spec, secretName, name)
	}
	once, keep, grace := int32(0), int32(jobKeptFor.Seconds()), int64(podGrace.Seconds())
	begin := int64((patience + time.Minute).Seconds()) // it must not begin when its caller is long gone
	template.Spec.RestartPolicy = corev1.RestartPolicyNever
	template.Spec.TerminationGracePeriodSeconds = &grace
	labels := maps.Clone(template.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[labelManagedBy] = "assistctl"
	job, err := c.client.BatchV1().Jobs(c.namespace()).Create(ctx, &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec:       batchv1.JobSpec{BackoffLimit: &once, TTLSecondsAfterFinished: &keep, ActiveDeadlineSeconds: &begin, Template: *template},
	}, metav1.CreateOptions{})
	if err != nil || do.databaseURL == "" {
		return job, err
	}
	if err := c.addDatabase(ctx, job, do.databaseURL); err != nil {
		c.deleteJob(ctx, job.Name)
		return nil, err
	}
	return job, nil
}

// letRun takes the time limit off a Job that has begun.
func (c *cluster) letRun(ctx context.Context, job string) error {
	patch := []byte(`{"spec":{"activeDeadlineSeconds":null}}`)
	_, err := c.client.BatchV1().Jobs(c.namespace()).Patch(ctx, job, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	if apierrors.IsNotFound(err) {
		return nil // it is over: what it said is in its pod
	}
	return err
}

// addDatabase makes the Secret that a Job's pod waits for: the service's own, but for the database's address.
func (c *cluster) addDatabase(ctx context.Context, job *batchv1.Job, databaseURL string) error {
	secrets := c.client.CoreV1().Secrets(c.namespace())
	own, err := secrets.Get(ctx, secretName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	data := maps.Clone(own.Data)
	if data == nil {
		data = map[string][]byte{}
	}
	data[databaseURLKey] = []byte(databaseURL)
	_, err = secrets.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: job.Name, Labels: job.Labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(job, batchv1.SchemeGroupVersion.WithKind("Job"))},
		},
		Data: data,
	}, metav1.CreateOptions{})
	return err
}

func firstWord(args []string) string {
	var b strings.Builder
	for _, r := range strings.Join(args[:min(len(args), 1)], "") {
		if r >= 'a' && r <= 'z' && b.Len() < 20 {
			b.WriteRune(r)
		}
	}
	if b.Len() == 0 {
		return "run"
	}
	return b.String()
}

// replaceSecret makes a pod mount one Secret where it would have mounted another.
func replaceSecret(spec *corev1.PodSpec, from, to string) {
	for i := range spec.Volumes {
		if s := spec.Volumes[i].Secret; s != nil && s.SecretName == from {
			s.SecretName = to
		}
		if p := spec.Volumes[i].Projected; p != nil {
			for k := range p.Sources {
				if s := p.Sources[k].Secret; s != nil && s.Name == from {
					s.Name = to
				}
			}
		}
	}
}

// template is a PodTemplate of the stack, to be filled in.
func (c *cluster) template(ctx context.Context, name string) (*corev1.PodTemplateSpec, error) {
	found, err := c.client.CoreV1().PodTemplates(c.namespace()).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("%w: namespace %s has no PodTemplate %s", target.ErrDown, c.namespace(), name)
	}
	if err != nil {
		return nil, err
	}
	return found.Template.DeepCopy(), nil
}

// merged is a release's settings with the environment's over them.
func (c *cluster) merged(settings map[string]string) map[string]string {
	all := maps.Clone(settings)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, c.out.Settings)
	return all
}

// fill puts an image and settings into a template, in the place of those that the template has. The template's own variables (the
// database's address and the like) win over settings, and ours over all.
func fill(template *corev1.PodTemplateSpec, image string, settings, ours map[string]string) {
	run := container(&template.Spec, serviceImage)
	run.Image = image
	before := settingsOf(template.Annotations)
	var env []corev1.EnvVar
	own := map[string]bool{}
	for _, v := range run.Env {
		if was, set := before[v.Name]; (set && v.ValueFrom == nil && v.Value == was) || ours[v.Name] != "" {
			continue
		}
		own[v.Name] = true
		env = append(env, v)
	}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if !own[name] && ours[name] == "" {
			env = append(env, corev1.EnvVar{Name: name, Value: settings[name]})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(ours)) {
		env = append(env, corev1.EnvVar{Name: name, Value: ours[name]})
	}
	run.Env = env
}
