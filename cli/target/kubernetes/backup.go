package kubernetes

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/target/kubernetes/podcall"
)

// Backups are taken where the database is, and removed by the one role that may remove them: by a Job from the stack's CronJob, whose log says
// how far it is. This process only looks on, so a connection that breaks costs nothing.

const (
	backupCronJob = "backup"
	pruneCronJob  = "prune"
	writerSecret  = "backup-writer"
	writerKey     = "writer.json"
	annotationKey = "assistant/backup-key"
	jobLog        = 24 * time.Hour // how long a Job's log can be looked at
)

// RunBackup takes a backup and puts what was taken into taken. options are package backup's, key those's key: a backup of that key that is
// there, or being taken, is not taken again. When ctx ends, so does the backup; when this process is killed, it goes on.
func (e *Environment) RunBackup(ctx context.Context, options any, key string, progress func(done, total int64), taken any) error {
	c, err := e.reach(ctx)
	if err != nil {
		return err
	}
	if err := e.runFrom(ctx, c, backupCronJob, options, key, progress, taken); err != nil {
		return fmt.Errorf("take backup of %s: %w", e.Name(), unreachable(ended(ctx, err)))
	}
	return nil
}

// RunPrune removes backups, and puts what was removed into removed. shown is package backup's plan, as somebody agreed to it.
func (e *Environment) RunPrune(ctx context.Context, shown any, progress func(done, total int64), removed any) error {
	c, err := e.reach(ctx)
	if err != nil {
		return err
	}
	if err := e.runFrom(ctx, c, pruneCronJob, shown, "", progress, removed); err != nil {
		return fmt.Errorf("prune backups of %s: %w", e.Name(), unreachable(ended(ctx, err)))
	}
	return nil
}

// runFrom runs a Job of a CronJob's with options, and looks on. One of the key that is there already is looked at, or waited for.
func (e *Environment) runFrom(ctx context.Context, c *cluster, schedule string, options any, key string, progress func(done, total int64), result any) error {
	if key == "" {
		key = rand.Text()
	}
	sum := sha256.Sum256([]byte(key))
	name := schedule + "-" + hex.EncodeToString(sum[:6])
	said, err := json.Marshal(options)
	if err != nil {
		return err
	}
	if err := c.clearFinished(ctx, name); err != nil {
		return err
	}
	err = c.jobFrom(ctx, schedule, name, map[string]string{annotationKey: key}, "--options", string(said))
	if err != nil && !apierrors.IsAlreadyExists(err) { // an earlier process's goes on, and is looked at
		return err
	}
	pod, err := c.begun(ctx, name, e.config.ExecTimeout)
	if err == nil {
		err = c.listen(ctx, pod, progress, result)
	}
	if ctx.Err() != nil {
		c.deleteJob(ctx, name)
	}
	return err
}

// clearFinished takes away a Job that has ended: the backup's own key says whether there is anything left to do.
func (c *cluster) clearFinished(ctx context.Context, name string) error {
	jobs := c.client.BatchV1().Jobs(c.namespace())
	for {
		job, err := jobs.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if !finished(job) && job.DeletionTimestamp == nil {
			return nil
		}
		if job.DeletionTimestamp == nil {
			now := metav1.DeletePropagationForeground
			if err := jobs.Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &now}); err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		}
		if err := pause(ctx, pollEvery); err != nil {
			return err
		}
	}
}

func finished(job *batchv1.Job) bool {
	for _, condition := range job.Status.Conditions {
		if (condition.Type == batchv1.JobComplete || condition.Type == batchv1.JobFailed) && condition.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}

// listen follows the pod's log to the result.
func (c *cluster) listen(ctx context.Context, pod string, progress func(done, total int64), result any) error {
	lines, log := io.Pipe()
	followed := make(chan error, 1)
	go func() {
		err := c.follow(ctx, pod, log)
		_ = log.Close()
		followed <- err
	}()
	other := tail{limit: 2000}
	answered, err := podcall.Listen(lines, podcall.Listener{
		Progress: func(p podcall.Progress) { progress(p.Done, p.Total) },
		Other:    func(line string) { _, _ = other.Write([]byte(line + "\n")) },
	}, result)
	_, _ = io.Copy(io.Discard, lines)
	broke := <-followed
	switch {
	case answered:
		return err
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case broke != nil:
		return broke
	case other.String() != "":
		return errors.New(other.String())
	}
	return errors.Join(err, fmt.Errorf("pod %s ended without saying how", pod))
}

// RunJob runs one of the environment's scheduled jobs now, and does not wait for its end.
func (e *Environment) RunJob(ctx context.Context, name string) error {
	c, err := e.reach(ctx)
	if err == nil {
		err = c.jobFrom(ctx, name, name+"-"+strings.ToLower(rand.Text()[:8]), nil)
	}
	if err != nil {
		return fmt.Errorf("run job %s of %s: %w", name, e.Name(), unreachable(ended(ctx, err)))
	}
	return nil
}

// jobFrom makes a Job as a CronJob of the stack would, with more arguments.
func (c *cluster) jobFrom(ctx context.Context, schedule, name string, annotations map[string]string, args ...string) error {
	cron, err := c.client.BatchV1().CronJobs(c.namespace()).Get(ctx, schedule, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return fault.Code(fault.Hint(fmt.Errorf("namespace %s has no CronJob %s: no release runs yet", c.namespace(), schedule),
			"assistctl deploy "+c.out.Name+" <release>"), fault.Refused)
	}
	if err != nil {
		return err
	}
	template := cron.Spec.JobTemplate.DeepCopy()
	job := &batchv1.Job{ObjectMeta: template.ObjectMeta, Spec: template.Spec}
	job.Name, job.Namespace, job.Annotations = name, c.namespace(), annotations
	keep := int32(jobLog.Seconds())
	job.Spec.TTLSecondsAfterFinished = &keep
	if len(args) > 0 { // somebody waits for it, who hears of a failure at once and may try again
		once := int32(0)
		job.Spec.BackoffLimit = &once
		run := container(&job.Spec.Template.Spec, assistctlImage)
		run.Args = append(run.Args, args...)
	} else { // as the schedule's own: `assistctl status` counts it, and the next one does not run beside it
		job.Annotations = map[string]string{"cronjob.kubernetes.io/instantiate": "manual"} // as kubectl marks them
		job.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(cron, batchv1.SchemeGroupVersion.WithKind("CronJob"))}
	}
	_, err = c.client.BatchV1().Jobs(c.namespace()).Create(ctx, job, metav1.CreateOptions{FieldManager: fieldManager})
	return err
}

// Writer is where the environment's schedule finds the file with which it writes backups: a Secret, which no stack knows of.
func (e *Environment) Writer() WriterSecret { return WriterSecret{e} }

// WriterSecret holds a backup writer's file.
type WriterSecret struct{ e *Environment }

// String names it.
func (w WriterSecret) String() string { return "Secret " + writerSecret + " of " + w.e.Name() }

// Read returns the file; fs.ErrNotExist when there is none.
func (w WriterSecret) Read(ctx context.Context) ([]byte, error) {
	c, err := w.e.reach(ctx)
	if err != nil {
		return nil, err
	}
	s, err := c.client.CoreV1().Secrets(c.namespace()).Get(ctx, writerSecret, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && len(s.Data[writerKey]) == 0 {
		return nil, fmt.Errorf("%s: %w", w, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", w, unreachable(ended(ctx, err)))
	}
	return s.Data[writerKey], nil
}

// Replace writes the file.
func (w WriterSecret) Replace(ctx context.Context, content []byte) error {
	c, err := w.e.reach(ctx)
	if err != nil {
		return err
	}
	secrets := c.client.CoreV1().Secrets(c.namespace())
	for {
		s, err := secrets.Get(ctx, writerSecret, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			_, err = secrets.Create(ctx, &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Name: writerSecret, Labels: map[string]string{
					labelName: "smart-assistant", labelInstance: w.e.Name(), labelComponent: backupCronJob, labelManagedBy: fieldManager,
				}},
				Data: map[string][]byte{writerKey: content},
			}, metav1.CreateOptions{FieldManager: fieldManager})
		} else if err == nil {
			s.Data = map[string][]byte{writerKey: content}
			_, err = secrets.Update(ctx, s, metav1.UpdateOptions{FieldManager: fieldManager})
		}
		if (apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err)) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", w, unreachable(ended(ctx, err)))
		}
		return nil
	}
}
