package environment

import (
	"regexp"
	"slices"
	"strconv"
)

// Monitoring is what is said about metrics and logs. Whether it is there at all is Addons.Monitoring.
type Monitoring struct {
	Namespace     string // of the operator that exists, or in which it is installed
	Storage       string // of metrics, and of logs
	RetentionDays int
	Host          string   // of Grafana; "" is none
	Labels        []string // name=value, by which an operator that exists finds rules and monitors
}

// OpenWebUI is the chat front end.
type OpenWebUI struct {
	Enabled   bool
	Host      string
	Storage   string
	Resources Resources
}

func (t *table) monitoring(s *Settings) {
	m := &s.Monitoring
	t.text("monitoring.namespace", &m.Namespace, "monitoring", "the name of a namespace", name)
	t.text("monitoring.storage", &m.Storage, "20Gi", volumeText, quantity).knob()
	t.count("monitoring.retentionDays", &m.RetentionDays, 15, 1, 3650, "days").knob()
	t.list("monitoring.labels", &m.Labels, "labels as name=value, such as release=kube-prometheus-stack", pair)
	t.text("monitoring.host", &m.Host, "", "a host name for Grafana", host).knob()
}

func (t *table) openWebUI(s *Settings) {
	o := &s.OpenWebUI
	t.flag("openWebUI.enabled", &o.Enabled, true)
	t.text("openWebUI.host", &o.Host, "", "a host name", host).knob()
	t.text("openWebUI.storage", &o.Storage, "5Gi", volumeText, quantity).knob()
	t.resources("openWebUI", &o.Resources, Resources{CPU: "100m", CPULimit: "2", Memory: "768Mi", MemoryLimit: "2Gi"})
}

func (c *checker) checkMonitoring() {
	m, addon := c.s.Monitoring, c.s.Addons.Monitoring
	if len(m.Labels) > 0 && addon != Existing {
		c.say("monitoring.labels", "contradicts addons.monitoring: %s; only an operator that exists looks for labels", addon)
	}
	if m.Host != "" && addon != Install {
		c.say("monitoring.host", "contradicts addons.monitoring: %s, which makes no Grafana", addon)
	}
	if m.Host != "" && (c.s.TLS.From != TLSCertManager || c.s.TLS.Issuer == "") {
		c.say("monitoring.host", "needs tls.from: %s and tls.issuer: Grafana is in another namespace, where only a ClusterIssuer's certificates go", TLSCertManager)
	}
	if addon == Install && m.Namespace == c.s.Namespace {
		c.say("monitoring.namespace", "is %s, the environment's own; monitoring needs another one", m.Namespace)
	}
}

func (c *checker) checkOpenWebUI() {
	o := c.s.OpenWebUI
	if !o.Enabled {
		return
	}
	switch o.Host {
	case "":
		c.say("openWebUI.host", "is missing: give a host name, or openWebUI.enabled: false")
	case c.s.API.Host:
		c.say("openWebUI.host", "is %q, which is also api.host", o.Host)
	}
	if tooOld(c.s.Images.OpenWebUI) {
		c.say("images.openWebUI", "is older than %s, the first that signs who chats (FORWARD_USER_INFO_HEADER_JWT_SECRET): the service would answer nobody", oldestOpenWebUI)
	}
}

// oldestOpenWebUI is the first release that is known to send X-OpenWebUI-User-Jwt, without which the service knows nobody.
const oldestOpenWebUI = "v0.10.2"

// officialOpenWebUI is the project's image, or a mirror's copy of it, by a version: v0.11.4, 0.11 (its newest patch) or v0.11.4-slim.
var officialOpenWebUI = regexp.MustCompile(`(?:^|/)open-?webui/open-webui:v?([0-9]+)\.([0-9]+)(?:\.([0-9]+))?(?:[-@].*)?$`)

// tooOld says so of the official image only; what other images and tags hold cannot be told.
func tooOld(image string) bool {
	parts := officialOpenWebUI.FindStringSubmatch(image)
	if parts == nil {
		return false
	}
	var version []int
	for _, part := range parts[1:] {
		n, err := strconv.Atoi(part)
		if err != nil {
			break // no patch, or no number of this world
		}
		version = append(version, n)
	}
	return slices.Compare(version, []int{0, 10, 2}[:len(version)]) < 0
}
