package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
)

func write(t *testing.T, dir, text string) string {
	t.Helper()
	path := filepath.Join(dir, FileName)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, text string, change ...func(*Options)) (*Config, error) {
	t.Helper()
	o := Options{Dir: t.TempDir(), Home: "/home/ann"}
	if text != "" {
		write(t, o.Dir, text)
	}
	for _, f := range change {
		f(&o)
	}
	return Load(o)
}

func environ(pairs ...string) func(*Options) { return func(o *Options) { o.Environ = pairs } }
func set(pairs ...string) func(*Options)     { return func(o *Options) { o.Set = pairs } }

func TestWithoutAFileThereAreThreeLocalEnvironments(t *testing.T) {
	c, err := load(t, "")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.Order, " "); got != "dev staging prod" {
		t.Errorf("order %q", got)
	}
	for name, want := range map[string]struct {
		replicas int
		confirm  bool
		soak     time.Duration
	}{"dev": {1, false, 0}, "staging": {2, false, 0}, "prod": {3, true, 24 * time.Hour}} {
		env, err := c.Environment(name)
		if err != nil {
			t.Fatal(err)
		}
		if env.Target != "local" || env.Replicas != want.replicas || env.Confirm != want.confirm || env.Gates.Soak != want.soak {
			t.Errorf("%s: %+v", name, env)
		}
	}
	if c.Lease.TTL != 30*time.Second || c.Environments["prod"].Gates.ErrorRate != 0.005 {
		t.Errorf("lease %s, error rate %v", c.Lease.TTL, c.Environments["prod"].Gates.ErrorRate)
	}
	if c.Local.DataDir != "/home/ann/.local/share/assistctl/assistant" || c.KeyDir() != "/home/ann/.config/assistctl/assistant/keys" {
		t.Errorf("data %s, keys %s", c.Local.DataDir, c.KeyDir())
	}
}

func TestPrecedence(t *testing.T) {
	const yaml = "lease: {ttl: 40s}\n"
	variable := environ("ASSISTCTL_LEASE_TTL=50s")
	for name, tt := range map[string]struct {
		file    string
		options []func(*Options)
		want    time.Duration
		source  string
	}{
		"default":                     {"", nil, 30 * time.Second, "default"},
		"file":                        {yaml, nil, 40 * time.Second, "assistctl.yaml:1"},
		"variable over file":          {yaml, []func(*Options){variable}, 50 * time.Second, "ASSISTCTL_LEASE_TTL"},
		"flag over variable":          {yaml, []func(*Options){variable, set("lease.ttl=1m")}, time.Minute, "flag --set"},
		"the last flag":               {"", []func(*Options){set("lease.ttl=1m", "lease.ttl=2m")}, 2 * time.Minute, "flag --set"},
		"an empty variable is no one": {yaml, []func(*Options){environ("ASSISTCTL_LEASE_TTL=")}, 40 * time.Second, "assistctl.yaml:1"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := load(t, tt.file, tt.options...)
			if err != nil {
				t.Fatal(err)
			}
			if c.Lease.TTL != tt.want {
				t.Errorf("ttl %s, want %s", c.Lease.TTL, tt.want)
			}
			if got := valueOf(t, c, "lease.ttl").Source.String(); got != tt.source {
				t.Errorf("source %q, want %q", got, tt.source)
			}
		})
	}
}

func valueOf(t *testing.T, c *Config, key string) Value {
	t.Helper()
	for _, v := range c.Values() {
		if v.Key == key {
			return v
		}
	}
	t.Fatalf("no value for %s", key)
	return Value{}
}

func TestEveryProblemIsReportedWithItsPlace(t *testing.T) {
	_, err := load(t, `project: Assistant
order: [dev, prd]
environment:
  dev: {}
  prod: {}
environments:
  dev:
    replica: 2
    gates: {soak: soon}
  prod:
    replicas: many
    gates:
      error_rate: 0.5
    retention: 7
    backup: {schedule: "25:00"}
lease:
  ttl: {seconds: 3}
`, environ("ASSISTCTL_LEASE_TLL=3s", "ASSISTCTL_VERSITYGW=/x"), set("local.data_dri=/x", "nonsense"))
	if code := fault.CodeOf(err); code != fault.Usage {
		t.Errorf("code %d", code)
	}
	var invalid *Invalid
	if !errors.As(err, &invalid) {
		t.Fatalf("%T %v", err, err)
	}
	want := []string{
		`assistctl.yaml:1  project is "Assistant"; lower-case letters, digits and hyphens, beginning with a letter, at most 31`,
		`assistctl.yaml:2  order names "prd", which is not an environment, did you mean "prod"?`,
		`assistctl.yaml:3  environment is not a known key, did you mean "environments"?`,
		`assistctl.yaml:8  environments.dev.replica is not a known key, did you mean "replicas"?`,
		`assistctl.yaml:9  environments.dev.gates.soak is "soon"; a duration such as 30s, 24h or 7d`,
		`assistctl.yaml:11  environments.prod.replicas is "many"; a whole number from 1 to 100`,
		`assistctl.yaml:13  environments.prod.gates.error_rate is "0.5"; a percentage such as 0.5%`,
		`assistctl.yaml:14  environments.prod.retention holds further keys, not the value "7"`,
		`assistctl.yaml:15  environments.prod.backup.schedule is "25:00"; a time of day in UTC (02:00), an interval of at least a minute (6h, 1d) or never`,
		`assistctl.yaml:17  lease.ttl takes one value, not further keys`,
		`ASSISTCTL_LEASE_TLL  sets no known key, did you mean "ASSISTCTL_LEASE_TTL"?`,
		`flag --set  nonsense is not key=value`,
		`flag --set  local.data_dri is not a known key, did you mean "data_dir"?`,
	}
	var got []string
	for _, p := range invalid.Problems {
		got = append(got, p.String())
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestProblemsThatOnlyShowTogether(t *testing.T) {
	for name, tt := range map[string]struct{ file, want string }{
		"one port twice": {
			"environments: {dev: {ports: {proxy: 8080}}, prod: {ports: {s3: 8080}}}",
			"environments.prod.ports.s3 is 8080, which is also environments.dev.ports.proxy",
		},
		"a bucket without a name": {
			"environments: {dev: {bucket: {endpoint: 'http://127.0.0.1:9000'}}}",
			"environments.dev.bucket.name is missing",
		},
		"half a key pair": {
			"environments: {dev: {bucket: {name: b, access_key_file: a}}}",
			"access_key_file and secret_key_file belong together",
		},
		"a lease too short": {"lease: {ttl: 1s}", "lease.ttl is 1s; at least 3s"},
		"an environment left out of the order": {
			"order: [dev]\nenvironments: {dev: {}, prod: {}}",
			`order leaves out the environment "prod"`,
		},
		"a key twice":         {"lease: {ttl: 5s}\nlease: {ttl: 6s}", "assistctl.yaml:2  lease is there twice, first on line 1"},
		"not YAML":            {"lease: [", "assistctl.yaml:1  is not YAML"},
		"a second document":   {"lease: {ttl: 5s}\n---\nlease: {ttl: 6s}", "begins a second document"},
		"not a mapping":       {"- dev\n", "is not a mapping"},
		"a list for a word":   {"project: [a, b]", "project takes one value, not a list"},
		"a name in capitals":  {"environments: {Prod: {}}", `environments.Prod is "Prod"; lower-case`},
		"a setting's name":    {"environments: {dev: {settings: {log-level: debug}}}", "environments.dev.settings.log-level is not the name of an environment variable"},
		"an alias to itself":  {"x-a: &a {<<: *a}\nlease: *a", "nests too deep"},
		"an unknown aliase":   {"lease: *nowhere", "is not YAML: unknown anchor"},
		"an URL without host": {"environments: {dev: {bucket: {name: b, endpoint: s3}}}", `bucket.endpoint is "s3"; a URL`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, tt.file)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestPathsAreRelativeToWhoNamesThem(t *testing.T) {
	root := t.TempDir()
	below := filepath.Join(root, "a", "b")
	if err := os.MkdirAll(below, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, root, "local: {data_dir: data, postgres_bin: pg}\n")
	c, err := Load(Options{Dir: below, Home: "/home/ann", Environ: []string{"ASSISTCTL_LOCAL_POSTGRES_BIN=pg", "ASSISTCTL_VERSITYGW=/opt/versitygw"}})
	if err != nil {
		t.Fatal(err)
	}
	if c.Local.DataDir != filepath.Join(root, "data") {
		t.Errorf("the file's path is %s", c.Local.DataDir)
	}
	if c.Local.PostgresBin != filepath.Join(below, "pg") {
		t.Errorf("the variable's path is %s", c.Local.PostgresBin)
	}
	if v := valueOf(t, c, "local.versitygw"); v.Value != "/opt/versitygw" || v.Source.String() != "ASSISTCTL_VERSITYGW" {
		t.Errorf("versitygw %+v", v)
	}
	if c.File != filepath.Join(root, FileName) || c.Dir() != root {
		t.Errorf("file %s, dir %s", c.File, c.Dir())
	}
	if got := valueOf(t, c, "local.data_dir").Source.String(); got != "../../assistctl.yaml:1" {
		t.Errorf("source %q", got)
	}
}

func TestSettingsKeepTheirNames(t *testing.T) {
	c, err := load(t, `
environments:
  dev:
    settings: {ASSISTD_LOG_LEVEL: info}
  pre-prod:
    settings: {ASSISTD_LOG_LEVEL: warn}
local:
  postgres_settings: {shared_buffers: 64MB, pg_stat_statements.track: all}
`, environ("ASSISTCTL_ENVIRONMENTS_PRE_PROD_SETTINGS_ASSISTD_LOG_LEVEL=debug", "ASSISTCTL_LOCAL_POSTGRES_SETTINGS_WORK_MEM=8MB"),
		set("environments.dev.settings.ASSISTD_COLOUR=blue"))
	if err != nil {
		t.Fatal(err)
	}
	dev, pre := c.Environments["dev"].Settings, c.Environments["pre-prod"].Settings
	if dev["ASSISTD_LOG_LEVEL"] != "info" || dev["ASSISTD_COLOUR"] != "blue" || pre["ASSISTD_LOG_LEVEL"] != "debug" {
		t.Errorf("dev %v, pre-prod %v", dev, pre)
	}
	pg := c.Local.PostgresSettings
	if len(pg) != 3 || pg["work_mem"] != "8MB" || pg["pg_stat_statements.track"] != "all" {
		t.Errorf("PostgreSQL %v", pg)
	}
}

func TestAnchorsAndMerges(t *testing.T) {
	c, err := load(t, `
x-gates: &gates {soak: 2d, backup_max_age: 12h}
environments:
  dev: {gates: *gates}
  prod:
    gates: {<<: *gates, soak: 3d}
`)
	if err != nil {
		t.Fatal(err)
	}
	dev, prod := c.Environments["dev"].Gates, c.Environments["prod"].Gates
	if dev.Soak != 2*day || prod.Soak != 3*day || prod.BackupMaxAge != 12*time.Hour {
		t.Errorf("dev %+v, prod %+v", dev, prod)
	}
}

func TestTheOrderIsTheFiles(t *testing.T) {
	c, err := load(t, "environments: {one: {}, two: {}}")
	if err != nil {
		t.Fatal(err)
	}
	if before, ok := c.Before("two"); !ok || before != "one" {
		t.Errorf("before two: %q %v", before, ok)
	}
	if after, ok := c.After("one"); !ok || after != "two" {
		t.Errorf("after one: %q %v", after, ok)
	}
	if _, ok := c.Before("one"); ok {
		t.Error("something comes before the first")
	}
	if _, ok := c.After("two"); ok {
		t.Error("something comes after the last")
	}
	if !c.Environments["two"].Confirm || c.Environments["one"].Confirm {
		t.Error("the last environment asks, the first does not")
	}
	_, err = c.Environment("tow")
	if fault.CodeOf(err) != fault.NotFound || !strings.Contains(err.Error(), `did you mean "two"?`) {
		t.Errorf("error %v", err)
	}
}

func TestAMissingFileThatWasAskedForIsRefused(t *testing.T) {
	_, err := load(t, "", func(o *Options) { o.File = "other.yaml" })
	if fault.CodeOf(err) != fault.Usage || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func TestRootKeepsDataWhereAnotherUserReachesIt(t *testing.T) {
	c, err := load(t, "", func(o *Options) { o.Root, o.Home = true, "/root" })
	if err != nil {
		t.Fatal(err)
	}
	if c.Local.DataDir != "/var/lib/assistctl/assistant" {
		t.Errorf("data in %s", c.Local.DataDir)
	}
	c, err = load(t, "", func(o *Options) { o.Root = true }, environ("XDG_DATA_HOME=/srv", "XDG_CONFIG_HOME=relative"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Local.DataDir != "/srv/assistctl/assistant" || c.Paths.Config != "/home/ann/.config/assistctl" {
		t.Errorf("data in %s, keys in %s", c.Local.DataDir, c.Paths.Config)
	}
}

func TestWhatTheStackSetsIsRefusedOnKubernetes(t *testing.T) {
	c, err := load(t, "environments: {dev: {}, prod: {target: kubernetes, gates: {soak: 1h}}}")
	if err != nil {
		t.Fatal(err)
	}
	if c.Environments["prod"].Stack != "prod" {
		t.Errorf("stack %q", c.Environments["prod"].Stack)
	}
	for _, v := range c.Values() {
		if v.Key == "environments.prod.replicas" || v.Key == "environments.prod.bucket.name" {
			t.Errorf("%s is shown with a default that does not hold", v.Key)
		}
	}
	_, err = load(t, "environments: {dev: {}, prod: {target: kubernetes, stack: live, replicas: 3, settings: {ASSISTD_LOG_LEVEL: debug}, backup: {schedule: 6h}}}")
	if err == nil {
		t.Fatal("it was accepted")
	}
	for _, want := range []string{"environments.prod.replicas", "environments.prod.settings.ASSISTD_LOG_LEVEL", "environments.prod.backup.schedule", "Pulumi.live.yaml"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing from: %v", want, err)
		}
	}
}
