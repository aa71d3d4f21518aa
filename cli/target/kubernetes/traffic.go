package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/service/telemetry"
)

const (
	privatePort  = "private" // of a replica: metrics, and the page with its traffic
	mostFailures = 10
)

// Traffic implements target.Target: each replica counts its own requests, and this sums up what they say. What a replica answered that
// is gone, and what the ingress answered itself because there was none, nobody has counted.
func (e *Environment) Traffic(ctx context.Context, window time.Duration) (target.Traffic, error) {
	c, err := e.reach(ctx)
	if err != nil {
		return target.Traffic{}, err
	}
	up, _, err := c.up(ctx)
	if err != nil {
		return target.Traffic{}, err
	}
	if !up {
		return target.Traffic{}, e.down("its database is not there, or scaled to zero")
	}
	now, err := c.look(ctx)
	if err != nil {
		return target.Traffic{}, err
	}
	pages, err := c.pages(ctx, now.pods, window)
	if err != nil {
		return target.Traffic{}, fmt.Errorf("traffic of %s: %w", e.Name(), err)
	}
	return mergePages(pages, e.now()), nil
}

// pages asks the replicas, all at once. One that ends while it is asked takes its numbers with it.
func (c *cluster) pages(ctx context.Context, pods []corev1.Pod, window time.Duration) ([]telemetry.Page, error) {
	var mu sync.Mutex
	var pages []telemetry.Page
	var failed error
	var asked sync.WaitGroup
	for i := range pods {
		p := &pods[i]
		if !started(p) || p.DeletionTimestamp != nil {
			continue
		}
		asked.Go(func() {
			page, err := c.page(ctx, p, window)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				pages = append(pages, page)
			} else if now, gone := c.pod(ctx, p.Name); gone == nil && now.UID == p.UID && podReady(now) {
				failed = errors.Join(failed, err)
			}
		})
	}
	asked.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return pages, failed
}

func (c *cluster) page(ctx context.Context, p *corev1.Pod, window time.Duration) (telemetry.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var page telemetry.Page
	answer, err := c.get(ctx, p.Name, portNamed(p, privatePort, 9090), telemetry.TrafficPath+"?window="+url.QueryEscape(window.String()))
	if err != nil { // of a replica that is ready: the way to it is broken
		return page, fault.Code(fmt.Errorf("%w: ask replica %s for its traffic: %w", target.ErrUnreachable, p.Name, err), fault.Unreachable)
	}
	defer answer.Body.Close() //nolint:errcheck // only read
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("it answers %s", answer.Status)
	}
	if err == nil {
		err = json.Unmarshal(body, &page)
	}
	if err != nil {
		return page, fmt.Errorf("ask replica %s for its traffic: %w", p.Name, err)
	}
	return page, nil
}

// mergePages sums up what replicas say, by release and in all. The window is as long as the oldest replica's: a younger one has seen
// nothing before it was there.
func mergePages(pages []telemetry.Page, now time.Time) target.Traffic {
	since := now
	byRelease := map[string][]telemetry.Sum{}
	begins := map[string]time.Time{}
	var all []telemetry.Sum
	for _, p := range pages {
		if p.Since.Before(since) {
			since = p.Since
		}
		if p.Requests == 0 {
			continue
		}
		if at, ok := begins[p.Version]; !ok || p.Since.Before(at) {
			begins[p.Version] = p.Since
		}
		byRelease[p.Version] = append(byRelease[p.Version], p.Sum)
		all = append(all, p.Sum)
	}
	sum := trafficOf(since, telemetry.Merge(all...))
	sum.Releases = map[string]target.Traffic{}
	for version, sums := range byRelease {
		sum.Releases[version] = trafficOf(begins[version], telemetry.Merge(sums...))
	}
	return sum
}

func trafficOf(since time.Time, sum telemetry.Sum) target.Traffic {
	t := target.Traffic{Since: since, Requests: sum.Requests, Failed: sum.Failed, P50: sum.Quantile(0.50), P95: sum.Quantile(0.95)}
	for _, f := range sum.Failures[:min(len(sum.Failures), mostFailures)] {
		t.Failures = append(t.Failures, target.Failure(f))
	}
	return t
}
