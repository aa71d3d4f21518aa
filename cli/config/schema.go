package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// key is one configuration key: its name, what holds without it, and how its text becomes a value.
type key struct {
	name     string
	fallback string
	doc      string
	also     []string // further variables that set it
	free     bool     // a map whose members are the user's own
	parse    func(origin) (shown string, err error)
}

func (k key) variables() []string { return append([]string{variable(k.name)}, k.also...) }

func projectKeys(c *Config, names []string) []key {
	return []key{
		text("project", &c.Project, "assistant", "names the data and key folders", word),
		{
			name: "order", fallback: strings.Join(names, ","), doc: "the way of a release, from the first environment to the last",
			parse: func(o origin) (string, error) {
				for name := range strings.SplitSeq(o.text, ",") {
					name = strings.TrimSpace(name)
					if !slices.Contains(names, name) {
						return "", fmt.Errorf("names %q, which is not an environment%s", name, meant(name, names))
					}
					if slices.Contains(c.Order, name) {
						return "", fmt.Errorf("names %q twice", name)
					}
					c.Order = append(c.Order, name)
				}
				for _, name := range names {
					if !slices.Contains(c.Order, name) {
						return "", fmt.Errorf("leaves out the environment %q", name)
					}
				}
				return strings.Join(c.Order, ", "), nil
			},
		},
	}
}

// place is where an environment stands in the order; defaults depend on it.
type place struct {
	index int
	last  bool // the last of several: the one that users depend on
}

func placeOf(name string, order []string) place {
	i := max(0, slices.Index(order, name))
	return place{index: i, last: len(order) > 1 && i == len(order)-1}
}

// or returns one default for the last environment and another for those before it.
func (p place) or(last, before string) string {
	if p.last {
		return last
	}
	return before
}

func environmentKeys(e *Environment, p place) []key {
	at := func(name string) string { return "environments." + e.Name + "." + name }
	return []key{
		text(at("target"), &e.Target, "local", "where it runs: local or kubernetes", oneOf(TargetLocal, TargetKubernetes)),
		text(at("stack"), &e.Stack, e.Name, "kubernetes: the Pulumi stack, which sets all that belongs to the cluster", word),
		count(at("replicas"), &e.Replicas, min(p.index+1, 3), 1, 100, "copies of the service"),
		truth(at("confirm"), &e.Confirm, p.last, "ask for the environment's name before a change"),
		count(at("ports.proxy"), &e.Ports.Proxy, 0, 0, 65535, "port of the API; 0 picks a free one and keeps it"),
		count(at("ports.postgres"), &e.Ports.Postgres, 0, 0, 65535, "port of the database; 0 picks"),
		count(at("ports.s3"), &e.Ports.S3, 0, 0, 65535, "port of the bucket; 0 picks"),
		text(at("bucket.endpoint"), &e.Bucket.Endpoint, "", "URL of the object store; empty is AWS", address),
		text(at("bucket.region"), &e.Bucket.Region, "us-east-1", "region of the object store", nil),
		text(at("bucket.name"), &e.Bucket.Name, "", "bucket to use instead of the target's own", nil),
		truth(at("bucket.path_style"), &e.Bucket.PathStyle, false, "bucket in the path rather than in the host name"),
		file(at("bucket.access_key_file"), &e.Bucket.AccessKeyFile, "", "file with the access key"),
		file(at("bucket.secret_key_file"), &e.Bucket.SecretKeyFile, "", "file with the secret key"),
		duration(at("gates.soak"), &e.Gates.Soak, p.or("24h", "0s"), "how long a release is verified in the environment before, at least"),
		duration(at("gates.backup_max_age"), &e.Gates.BackupMaxAge, "26h", "age of the newest backup, at most"),
		percentage(at("gates.error_rate"), &e.Gates.ErrorRate, "0.5%", "failed requests that are tolerated"),
		duration(at("gates.verify_window"), &e.Gates.VerifyWindow, p.or("2m", "30s"), "how long the error rate is watched after a deployment"),
		count(at("retention.keep_last"), &e.Retention.KeepLast, 3, 1, 10_000, "backups kept whatever their age"),
		count(at("retention.daily"), &e.Retention.Daily, 7, 0, 10_000, "days of which the newest backup is kept"),
		count(at("retention.weekly"), &e.Retention.Weekly, 4, 0, 10_000, "weeks of which the newest backup is kept"),
		count(at("retention.pre_deploy_days"), &e.Retention.PreDeployDays, 90, 1, 100_000, "days that the snapshot before a promotion is kept"),
		schedule(at("backup.schedule"), &e.Backup.Schedule, "02:00", "when a backup is taken: time of day in UTC, interval or never"),
		schedule(at("backup.prune"), &e.Backup.Prune, "03:00", "when backups are pruned"),
	}
}

func releaseKeys(c *Config) []key {
	return []key{
		text("release.package", &c.Release.Package, "./service/assistd", "Go package of the service", nonEmpty),
	}
}

func localKeys(c *Config) []key {
	versitygw := file("local.versitygw", &c.Local.VersityGW, "", "versitygw binary; empty looks for it")
	versitygw.also = []string{prefix + "VERSITYGW"}
	postgres := file("local.postgres_bin", &c.Local.PostgresBin, "", "folder of the PostgreSQL server binaries; empty looks for it")
	postgres.also = []string{prefix + "POSTGRES_BIN"}
	return []key{
		file("local.data_dir", &c.Local.DataDir, filepath.Join(c.Paths.Data, c.Project), "holds a folder per environment"),
		postgres,
		versitygw,
	}
}

func kubernetesKeys(c *Config) []key {
	return []key{
		file("kubernetes.dir", &c.Kubernetes.Dir, "", "folder of the Pulumi project; empty is the configuration's own"),
		file("kubernetes.pulumi", &c.Kubernetes.Pulumi, "", "Pulumi CLI; empty looks for it"),
	}
}

// ofStack are the keys of an environment that the stack sets when it runs on Kubernetes: nothing is configured twice.
var ofStack = []string{"replicas", "ports.", "bucket.", "settings.", "retention.", "backup."}

// setByStack reports whether the environment's stack sets a key, and not this configuration.
func (c *Config) setByStack(key string) (stack string, ok bool) {
	for _, env := range c.Environments {
		own, ours := strings.CutPrefix(key, "environments."+env.Name+".")
		if !ours || env.Target != TargetKubernetes {
			continue
		}
		for _, name := range ofStack {
			if own == name || strings.HasSuffix(name, ".") && strings.HasPrefix(own, name) {
				return env.Stack, true
			}
		}
	}
	return "", false
}

func leaseKeys(c *Config) []key {
	return []key{
		duration("lease.ttl", &c.Lease.TTL, "30s", "a writer that does not renew for this long has lost the environment"),
	}
}

// check looks at what only makes sense together.
func check(c *Config) []Problem {
	var problems []Problem
	say := func(key, format string, args ...any) {
		source := Source{}
		for _, v := range c.values {
			if v.Key == key {
				source = v.Source
			}
		}
		problems = append(problems, Problem{Key: key, Source: source, Text: fmt.Sprintf(format, args...)})
	}
	if c.Lease.TTL < minLease {
		say("lease.ttl", "is %s; at least %s, or a slow answer loses the lease", FormatDuration(c.Lease.TTL), FormatDuration(minLease))
	}
	for _, v := range c.values {
		if stack, set := c.setByStack(v.Key); set && v.Source.Kind != FromDefault {
			say(v.Key, "is the stack's matter where the target is kubernetes: set it in Pulumi.%s.yaml", stack)
		}
	}
	c.values = slices.DeleteFunc(c.values, func(v Value) bool {
		_, set := c.setByStack(v.Key)
		return set
	})
	taken := map[int]string{}
	for _, name := range c.Order {
		env := c.Environments[name]
		at := "environments." + name + "."
		for _, p := range []struct {
			key  string
			port int
		}{{"ports.proxy", env.Ports.Proxy}, {"ports.postgres", env.Ports.Postgres}, {"ports.s3", env.Ports.S3}} {
			if other, ok := taken[p.port]; ok && p.port != 0 {
				say(at+p.key, "is %s, which is also %s", strconv.Itoa(p.port), other)
			}
			taken[p.port] = at + p.key
		}
		if b := env.Bucket; !b.Set() && (b.Endpoint != "" || b.AccessKeyFile != "" || b.SecretKeyFile != "") {
			say(at+"bucket.name", "is missing: the other bucket keys need it")
		}
		if b := env.Bucket; (b.AccessKeyFile == "") != (b.SecretKeyFile == "") {
			say(at+"bucket.access_key_file", "and secret_key_file belong together: give both or none")
		}
	}
	return problems
}
