package environment

import (
	"fmt"
	"strings"
)

// Reference is every setting as a table in Markdown: SETTINGS.md, which a test keeps up to date.
func Reference() string {
	var b strings.Builder
	b.WriteString(`# Settings of an environment

In ` + "`Pulumi.<stack>.yaml`" + ` under ` + "`smart-assistant:`" + `, as sections or with dots: ` + "`pulumi config set --path 'smart-assistant:api.replicas' 4`" + `.
Secrets: ` + "`pulumi config set --secret --path …`" + `. A knob may differ between staging and prod; nothing else may.

What an update cannot change by itself: a password of the database that is given anew is told to it as well (` + "`ALTER ROLE`" + `), and a lock on the
bucket's objects (` + "`aws.objectLockDays`" + `) is taken off again by hand, as S3 has it.

| setting | what it takes | default | knob |
| --- | --- | --- | --- |
`)
	for _, k := range keys(&Settings{Name: "<stack>"}).keys {
		fallback, mark := "", ""
		switch {
		case k.required:
			fallback = "required"
		case k.fallback != "":
			fallback = "`" + k.fallback + "`"
		}
		if k.isKnob {
			mark = "yes"
		}
		want := k.want
		if k.isSecret {
			want += "; secret"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.name, strings.ReplaceAll(want, "|", "\\|"), fallback, mark)
	}
	b.WriteString("| `settings` | a section of the service's variables, over those of the release | | yes |\n")
	return b.String()
}
