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

What the service reaches: public addresses at the ports of HTTPS, HTTP, IMAP and mail (443, 80, 993, 465, 587), by its network policy. A model's
server or an OTLP collector in a private network is named in ` + "`api.egress`" + `; a feed or a mailbox there is also allowed to its users, by
` + "`settings.ASSISTD_OUTBOUND_ALLOW`" + `. What runs in the cluster is named by the network of its pods, since a policy is applied after a Service's address
was resolved.

A Traefik that exists (` + "`addons.ingress: existing`" + `) ends every request that has not come whole after a minute, an import of mail among them, unless its
entry point says otherwise: ` + "`--entryPoints.websecure.transport.respondingTimeouts.readTimeout=61m`" + `, or in its chart's values
` + "`ports.websecure.transport.respondingTimeouts.readTimeout: 61m`" + `. The service itself gives an import an hour.

Secrets of other services (` + "`secrets.llmKey`, `secrets.googleClientSecret`, `secrets.smtpURL`, `secrets.oidcProviders`" + `) come to the service as files, which it
reads when it starts: after a change of one that was given before, ` + "`kubectl -n <namespace> rollout restart deployment/api`" + `.

Open WebUI's models and tools (` + "`tools/openapi.json`" + `) are the service's. Whoever chats there has to have an account of the service with the same
e-mail address, and switches the tools on in a chat by themselves; the service's own model uses them without that.

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
