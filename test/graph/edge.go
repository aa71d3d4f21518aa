package graph

import (
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
)

// Annotations of Traefik's Ingresses.
const (
	entryPoints = "traefik.ingress.kubernetes.io/router.entrypoints"
	middlewares = "traefik.ingress.kubernetes.io/router.middlewares"
)

// edgeChecks ask about the way in: TLS, the redirect to it, and the limit of requests.
func edgeChecks() []Check {
	ask := func(name string, question func(*View, networkingv1.Ingress) string) Check {
		return each("ingress/"+name, func(v *View) []networkingv1.Ingress { return v.Ingresses },
			func(i networkingv1.Ingress) string { return "Ingress " + i.Name }, question)
	}
	secure := func(i networkingv1.Ingress) bool { return i.Annotations[entryPoints] == "websecure" }
	uses := func(v *View, i networkingv1.Ingress, kind string) map[string]any {
		for name := range strings.SplitSeq(i.Annotations[middlewares], ",") {
			name = strings.TrimSuffix(strings.TrimPrefix(name, i.Namespace+"-"), "@kubernetescrd")
			for _, m := range v.Find(Object("Middleware", name)) {
				if spec := Map(m.Inputs, "spec", kind); spec != nil && m.Namespace() == i.Namespace {
					return spec
				}
			}
		}
		return nil
	}
	return []Check{
		ask("class", func(_ *View, i networkingv1.Ingress) string {
			if i.Spec.IngressClassName == nil || *i.Spec.IngressClassName == "" {
				return "it has no class: whichever controller is the default takes it"
			}
			return ""
		}),
		ask("entry", func(_ *View, i networkingv1.Ingress) string {
			if e := i.Annotations[entryPoints]; e != "web" && e != "websecure" {
				return "it says not whether it is for HTTP or HTTPS"
			}
			return ""
		}),
		ask("tls", func(v *View, i networkingv1.Ingress) string {
			if !secure(i) {
				return ""
			}
			for _, rule := range i.Spec.Rules {
				if rule.Host == "" {
					return "a rule is for any host"
				}
				if !slices.ContainsFunc(i.Spec.TLS, func(t networkingv1.IngressTLS) bool {
					return slices.Contains(t.Hosts, rule.Host) && v.certified(t.SecretName, rule.Host)
				}) {
					return "no certificate for " + rule.Host
				}
			}
			return ""
		}),
		ask("redirect", func(v *View, i networkingv1.Ingress) string {
			if !secure(i) {
				if spec := uses(v, i, "redirectScheme"); spec["scheme"] != "https" || spec["permanent"] != true {
					return "it serves HTTP in clear"
				}
				return ""
			}
			if !slices.ContainsFunc(v.Ingresses, func(o networkingv1.Ingress) bool {
				return !secure(o) && slices.ContainsFunc(o.Spec.Rules, func(r networkingv1.IngressRule) bool { return r.Host == i.Spec.Rules[0].Host })
			}) {
				return "who comes by HTTP is not sent to HTTPS"
			}
			return ""
		}),
		ask("rate-limit", func(v *View, i networkingv1.Ingress) string {
			if spec := uses(v, i, "rateLimit"); secure(i) && (Number(spec, "average") <= 0 || Number(spec, "burst") <= 0) {
				return "a client may send as many requests as it likes"
			}
			return ""
		}),
	}
}

// certified says whether a Secret holds, or will hold, a certificate for the host. A Secret that somebody made (tls.from: secret) is none
// of the graph's: the environment then has neither a Certificate nor a Secret of its own for the ingress.
func (v *View) certified(secret, host string) bool {
	if secret == "" {
		return false
	}
	certificates := v.Find(func(r *Resource) bool {
		return r.Kind() == "Certificate" && String(r.Inputs, "spec", "secretName") == secret
	})
	if len(certificates) > 0 {
		c := certificates[0]
		if String(c.Inputs, "spec", "issuerRef", "name") == "" {
			return false
		}
		return slices.ContainsFunc(List(c.Inputs, "spec", "dnsNames"), func(name any) bool { return name == host })
	}
	if made := v.Find(Object("Secret", secret)); len(made) == 1 {
		return String(made[0].Inputs, "type") == "kubernetes.io/tls"
	}
	return secret == "somebodys-tls"
}
