package graph

import (
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// databaseChecks ask about PostgreSQL, which is the one that must not be killed, lost, or reached without TLS.
func databaseChecks() []Check {
	ask := func(name string, question func(*View, appsv1.StatefulSet) string) Check {
		return Check{Name: "database/" + name, Run: func(v *View) []Finding {
			var found findings
			for _, s := range v.StatefulSets {
				if s.Name != "postgres" {
					continue
				}
				if message := question(v, s); message != "" {
					found.on("StatefulSet postgres", "%s", message)
				}
			}
			return found
		}}
	}
	return []Check{
		ask("identity", func(v *View, s appsv1.StatefulSet) string {
			headless := slices.ContainsFunc(v.Services, func(x corev1.Service) bool {
				return x.Name == s.Spec.ServiceName && x.Spec.ClusterIP == corev1.ClusterIPNone
			})
			if !headless {
				return "its governing service is not headless: its pod has no name of its own"
			}
			if s.Spec.Replicas == nil || *s.Spec.Replicas != 1 {
				return "two servers would share nothing and both be written to"
			}
			return ""
		}),
		ask("volume", func(_ *View, s appsv1.StatefulSet) string {
			if len(s.Spec.VolumeClaimTemplates) != 1 || s.Spec.VolumeClaimTemplates[0].Name != "data" {
				return "its claim is not data-postgres-0"
			}
			if !slices.ContainsFunc(s.Spec.Template.Spec.Containers[0].VolumeMounts, func(m corev1.VolumeMount) bool {
				return m.Name == "data" && m.MountPath == "/var/lib/postgresql" && m.SubPath == ""
			}) {
				return "its volume is not at /var/lib/postgresql"
			}
			return ""
		}),
		ask("recovery", func(_ *View, s appsv1.StatefulSet) string { return survivesRecovery(s.Spec.Template.Spec) }),
		ask("shutdown", func(_ *View, s appsv1.StatefulSet) string {
			if t := s.Spec.Template.Spec.TerminationGracePeriodSeconds; t == nil || *t < 60 {
				return "it is killed before its shutdown checkpoint is written"
			}
			return ""
		}),
		ask("configuration", func(v *View, s appsv1.StatefulSet) string {
			if len(s.Spec.Template.Annotations) == 0 {
				return "a change of its configuration does not restart it"
			}
			if !slices.ContainsFunc(s.Spec.Template.Spec.Volumes, func(x corev1.Volume) bool { return x.ConfigMap != nil && x.ConfigMap.Name == "postgres" }) {
				return "its configuration is not the ConfigMap's"
			}
			return ""
		}),
		{Name: "database/tls", Run: databaseTLS},
		{Name: "database/passwords", Run: databasePasswords},
	}
}

// survivesRecovery wants a liveness probe that is content while the server says that it is starting up or recovering (pg_isready exits
// with 1), and a startup probe that waits. What the command does with each exit status is tested in database_test.go.
func survivesRecovery(spec corev1.PodSpec) string {
	c := spec.Containers[0]
	live := c.LivenessProbe
	if live == nil || live.Exec == nil {
		return "its liveness is not asked of pg_isready"
	}
	if command := strings.Join(live.Exec.Command, " "); !strings.Contains(command, "pg_isready") || !strings.HasSuffix(command, "test $? -lt 2") {
		return "its liveness probe kills a recovery: pg_isready's status 1 is no failure"
	}
	if s := c.StartupProbe; s == nil || s.PeriodSeconds*s.FailureThreshold < 300 {
		return "less than five minutes to recover after a crash"
	}
	return ""
}

// databaseConfig is the server's ConfigMap.
func (v *View) databaseConfig() map[string]string {
	for _, c := range v.ConfigMaps {
		if c.Name == "postgres" {
			return c.Data
		}
	}
	return nil
}

// settings reads "name = value" lines without comments and quotes.
func settings(file string) map[string]string {
	found := map[string]string{}
	for line := range strings.Lines(file) {
		line, _, _ = strings.Cut(line, "#")
		if name, value, ok := strings.Cut(line, "="); ok {
			found[strings.TrimSpace(name)] = strings.Trim(strings.TrimSpace(value), "'")
		}
	}
	return found
}

func databaseTLS(v *View) []Finding {
	var found findings
	config := v.databaseConfig()
	on := settings(config["postgresql.conf"])
	for name, want := range map[string]string{"ssl": "on", "ssl_min_protocol_version": "TLSv1.2", "password_encryption": "scram-sha-256"} {
		if on[name] != want && !(name == "ssl_min_protocol_version" && on[name] == "TLSv1.3") {
			found.on("ConfigMap postgres", "%s is %q, want %s", name, on[name], want)
		}
	}
	for _, name := range []string{"ssl_cert_file", "ssl_key_file"} {
		if on[name] == "" {
			found.on("ConfigMap postgres", "%s is not set", name)
		}
	}
	for line := range strings.Lines(config["pg_hba.conf"]) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		method := fields[len(fields)-1]
		switch {
		case fields[0] == "local", method == "reject":
		case fields[0] == "hostssl" && method == "scram-sha-256":
		case fields[0] == "host" && len(fields) > 3 && (fields[3] == "127.0.0.1/32" || fields[3] == "::1/128"): // inside of the pod
		default:
			found.on("ConfigMap postgres", "pg_hba.conf lets in without TLS or password: %s", strings.TrimSpace(line))
		}
		if method == "trust" {
			found.on("ConfigMap postgres", "pg_hba.conf trusts: %s", strings.TrimSpace(line))
		}
	}
	for _, s := range v.Secrets {
		if url := s.StringData["database-url"]; s.Name == "assistd" && (!strings.Contains(url, "sslmode=verify-full") || !strings.Contains(url, "sslrootcert=")) {
			found.on("Secret assistd", "the service does not verify the database's certificate")
		}
	}
	return found
}

// databasePasswords wants a role of its own for each use, each with a password of its own.
func databasePasswords(v *View) []Finding {
	var found findings
	for _, s := range v.Secrets {
		if s.Name != "postgres" {
			continue
		}
		seen := map[string]string{}
		for _, key := range []string{"superuser-password", "service-password", "backup-password"} {
			value := s.StringData[key]
			if other := seen[value]; value == "" || other != "" {
				found.on("Secret postgres", "%s", fmt.Sprintf("%s is missing or the same as %s", key, other))
			}
			seen[value] = key
		}
	}
	return found
}
