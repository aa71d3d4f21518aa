package config

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func values(t *testing.T, c *Config) map[string]Value {
	t.Helper()
	all := map[string]Value{}
	for _, v := range c.Values() {
		all[v.Key] = v
	}
	return all
}

func TestTheTemplateChangesNothing(t *testing.T) {
	without, err := load(t, "")
	if err != nil {
		t.Fatal(err)
	}
	with, err := load(t, Template)
	if err != nil {
		t.Fatal(err)
	}
	got := values(t, with)
	for key, v := range values(t, without) {
		if got[key].Value != v.Value {
			t.Errorf("%s is %q with the template, %q without", key, got[key].Value, v.Value)
		}
	}
}

var (
	prose   = regexp.MustCompile(`^# \S`)
	comment = regexp.MustCompile(`^(\s*)#(.*)$`)
)

// uncomment makes keys of what the template has as comments, twice: optional sections are comments within comments.
func uncomment(text string) string {
	for range 2 {
		var lines []string
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			if m := comment.FindStringSubmatch(line); m != nil && !prose.MatchString(line) {
				line = m[1] + m[2]
			}
			lines = append(lines, line)
		}
		text = strings.Join(lines, "\n")
	}
	return text
}

func TestTheTemplateNamesEveryKeyWithItsDefault(t *testing.T) {
	without, err := load(t, "")
	if err != nil {
		t.Fatal(err)
	}
	text := uncomment(Template)
	with, err := load(t, text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	examples := []string{"bucket.endpoint", "bucket.name", "bucket.access_key_file", "bucket.secret_key_file", "local.data_dir", "local.postgres_bin", "local.versitygw", "kubernetes.dir", "kubernetes.pulumi"}
	got := values(t, with)
	for key, v := range values(t, without) {
		isExample := slices.ContainsFunc(examples, func(e string) bool { return strings.HasSuffix(key, e) })
		if !isExample && got[key].Value != v.Value {
			t.Errorf("%s: the template says %q, the default is %q", key, got[key].Value, v.Value)
		}
		elsewhere := strings.HasPrefix(key, "environments.staging.") || strings.HasPrefix(key, "environments.prod.")
		if !elsewhere && got[key].Source.Kind != FromFile {
			t.Errorf("the template does not name %s", key)
		}
	}
}
