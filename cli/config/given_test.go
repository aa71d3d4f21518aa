package config

import (
	"errors"
	"maps"
	"testing"
)

func TestPrecedenceOfSettings(t *testing.T) {
	const yaml = "environments: {dev: {settings: {FILE: file, VARIABLE: file, FLAG: file}}}"
	c, err := load(t, yaml,
		environ("ASSISTCTL_ENVIRONMENTS_DEV_SETTINGS_VARIABLE=variable", "ASSISTCTL_ENVIRONMENTS_DEV_SETTINGS_FLAG=variable"),
		set("environments.dev.settings.FLAG=flag"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"FILE": "file", "VARIABLE": "variable", "FLAG": "flag"}
	if got := c.Environments["dev"].Settings; !maps.Equal(got, want) {
		t.Errorf("settings %v, want %v", got, want)
	}
	for name, want := range map[string]string{
		"FILE": "assistctl.yaml:1", "VARIABLE": "ASSISTCTL_ENVIRONMENTS_DEV_SETTINGS_VARIABLE", "FLAG": "flag --set",
	} {
		if got := valueOf(t, c, "environments.dev.settings."+name).Source.String(); got != want {
			t.Errorf("%s comes from %q, want %q", name, got, want)
		}
	}
}

func TestNamesThatDifferInCaseStayApart(t *testing.T) {
	for name, tt := range map[string]struct {
		file, key string
		options   func(*Options)
	}{
		"key of the file":   {"lease: {ttl: 40s, TTL: soon}", "lease.TTL", environ()},
		"flag":              {"lease: {ttl: 40s}", "LEASE", set("LEASE.ttl=soon")},
		"setting":           {"environments: {dev: {settings: {FOO: a, foo: b}}}", "environments.dev.settings.foo", environ()},
		"setting with mark": {"environments: {dev: {settings: {^a: a, A: b}}}", "environments.dev.settings.^a", environ()},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, tt.file, tt.options)
			var invalid *Invalid
			if !errors.As(err, &invalid) || len(invalid.Problems) != 1 || invalid.Problems[0].Key != tt.key {
				t.Errorf("got %v, want one problem of %s", err, tt.key)
			}
		})
	}
}

func TestASectionDoesNotHideItsKeys(t *testing.T) {
	c, err := load(t, "local: {postgres_settings: {auto_explain: x, auto_explain.log_analyze: 'on'}}",
		set("local.postgres_settings.auto_explain.log_nested_statements=on"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"auto_explain": "x", "auto_explain.log_analyze": "on", "auto_explain.log_nested_statements": "on"}
	if got := c.Local.PostgresSettings; !maps.Equal(got, want) {
		t.Errorf("settings %v, want %v", got, want)
	}
}
