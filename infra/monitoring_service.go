package infra

// The service's routes that take as long as what they carry or wait for: a conversation, an import, an export. Latency says nothing of them.
const longRoutes = `/v1/chat/completions|/v1/embeddings|/api/v1/mail-imports|/api/v1/me/export|/tools/generate_briefing`

// The routes that fail with the language model's server. That is not the service's fault, and has alerts of its own.
const modelRoutes = `/v1/chat/completions|/v1/embeddings`

// modelAway is true while the language model's server was given up: asked again now and then, and found away. A breaker that only waits for
// somebody to ask is at 1.
const modelAway = `max by (namespace) (max_over_time(assistd_llm_breaker_state{$ns}[5m])) == 2`

// modelAlerts are about conversations, and the server that they may need.
func modelAlerts() []alert {
	const logs = "kubectl -n {{ $labels.namespace }} logs deployment/api"
	return []alert{
		{"AssistantModelAway", modelAway, "10m", "warning", "the language model's server does not answer: conversations and briefings go on without it", logs},
		{
			"AssistantModelRefuses",
			`sum by (namespace) (rate(assistd_llm_requests_total{$ns,result="refused"}[30m])) / sum by (namespace) (rate(assistd_llm_requests_total{$ns,result=~"ok|refused"}[30m])) > 0.5`,
			"30m", "warning", "the language model's server refuses most requests: its key, or the name of its model", logs,
		},
		{
			"AssistantChatFails",
			`sum by (namespace) (rate(assistd_chat_requests_total{$ns,result="failed"}[15m])) / sum by (namespace) (rate(assistd_chat_requests_total{$ns,result!="cancelled"}[15m])) > 0.05 unless on (namespace) ` + modelAway,
			"10m", "warning", "one conversation in twenty fails, and not for the language model's server", logs,
		},
	}
}

// workAlerts are about what the service does that nobody waits for in front of a screen.
func workAlerts() []alert {
	const logs = "kubectl -n {{ $labels.namespace }} logs deployment/api"
	return []alert{
		{
			"AssistantQueueOld", `max by (namespace, queue) (assistd_queue_oldest_seconds{$ns}) > 900`,
			"10m", "warning", "a job of the queue {{ $labels.queue }} has waited for more than a quarter of an hour", "assistctl status $env",
		},
		{
			"AssistantJobsGivenUp", `sum by (namespace, queue) (increase(assistd_queue_attempts_total{$ns,result="discarded"}[1h])) > 0`,
			"0m", "warning", "a job of the queue {{ $labels.queue }} failed for the last time", logs,
		},
		{
			"AssistantLimitsAlone", `sum by (namespace) (assistd_rate_limit_degraded{$ns}) > 0`,
			"10m", "warning", "replicas count requests each alone: Valkey does not answer them", "assistctl doctor $env",
		},
		{
			"AssistantQueuesUnseen",
			`sum by (namespace) (up{$ns,job="api-metrics"}) > 0 unless on (namespace) assistd_queue_oldest_seconds{$ns}`,
			"10m", "warning", "no replica can count the queues: the database does not answer them", "assistctl doctor $env",
		},
		{
			"AssistantMailSyncsFail", failing("assistd_mail_syncs_total", "kind", `problem|error`, `ok|problem|error`, "1h"),
			"30m", "warning", "most syncs of {{ $labels.kind }} mailboxes fail", logs,
		},
		{
			"AssistantMailNotStored", `sum by (namespace) (increase(assistd_mail_syncs_total{$ns,result="error"}[1h])) > 2`,
			"10m", "warning", "mail that was fetched could not be stored", logs,
		},
		{
			"AssistantFeedsFail", failing("assistd_job_source_fetches_total", "", `failed`, `.+`, "2h"),
			"30m", "warning", "most fetches of job sources fail: is there a way out?", logs,
		},
		{
			"AssistantBriefingsFail", `sum by (namespace) (increase(assistd_briefings_generated_total{$ns,result="failed"}[1h])) > 2`,
			"10m", "warning", "briefings could not be written", logs,
		},
		{
			"AssistantPoolExhausted", `sum by (namespace, pod) (rate(assistd_db_acquire_seconds_total{$ns}[5m])) > 1`,
			"10m", "warning", "requests of {{ $labels.pod }} wait for a connection to the database", "raise settings.ASSISTD_DB_CONNECTIONS in Pulumi.$env.yaml",
		},
	}
}

// failing is a condition that most of what a counter counted failed, and more than a few did. A label besides the namespace may tell kinds apart.
func failing(counter, label, failed, all, window string) string {
	by := "namespace"
	if label != "" {
		by += ", " + label
	}
	of := func(results string) string {
		return `sum by (` + by + `) (increase(` + counter + `{$ns,result=~"` + results + `"}[` + window + `]))`
	}
	return of(failed) + ` / ` + of(all) + ` > 0.5 and ` + of(failed) + ` > 5`
}
