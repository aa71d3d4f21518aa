package environment

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestLongNameOnAWS(t *testing.T) {
	if _, err := Parse(strings.Repeat("x", 25), cloud(map[string]string{"namespace": "a", "s3.name": "abc"}), nil); err == nil || !strings.Contains(err.Error(), "at most 24") {
		t.Errorf("a stack with a name of 25 letters: %v", err)
	}
}

func TestAWSDefaults(t *testing.T) {
	s, err := Parse("prod", cloud(nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"eu-central-1a", "eu-central-1b", "eu-central-1c"}; !slices.Equal(s.AWS.Zones, want) {
		t.Errorf("zones %v; want %v", s.AWS.Zones, want)
	}
	if got := fmt.Sprint(s.AWS.NATGateways, s.AWS.GraceDays, s.AWS.ObjectLockDays, s.AWS.LogDays, len(s.AWS.PublicAccess)); got != "3 30 0 90 1" {
		t.Errorf("NAT gateways, grace, lock, logs and public access: %s", got)
	}
}

// TestPrivateAccess: by a VPN is a way to reach the API server as well.
func TestPrivateAccess(t *testing.T) {
	s, err := Parse("prod", cloud(map[string]string{"aws.publicAccess": "", "aws.privateAccess": "10.8.0.0/16"}), nil)
	if err != nil || !slices.Equal(s.AWS.PrivateAccess, []string{"10.8.0.0/16"}) || len(s.AWS.PublicAccess) > 0 {
		t.Errorf("private access %v, public %v: %v", s.AWS.PrivateAccess, s.AWS.PublicAccess, err)
	}
}

// TestAWSProblems holds every way in which the settings of AWS, and of what looks at it, can be wrong.
func TestAWSProblems(t *testing.T) {
	with := func(key, value string) map[string]string { return cloud(map[string]string{key: value}) }
	for name, test := range map[string]struct {
		values map[string]string
		want   []string // "key: part of the text"
	}{
		"no account":        {with("aws", `{"region":"eu-central-1","administrators":["arn:aws:iam::123456789012:role/platform"]}`), []string{"aws.account: is missing"}},
		"account":           {with("aws", `{"region":"eu-central-1","account":"1234","administrators":["arn:aws:iam::123456789012:role/platform"]}`), []string{"aws.account: twelve digits", "aws.account: is missing"}},
		"no administrators": {with("aws", `{"region":"eu-central-1","account":"123456789012"}`), []string{"aws.administrators: is missing"}},
		"a user":            {with("aws", `{"region":"eu-central-1","account":"123456789012","administrators":["arn:aws:iam::123456789012:user/me"]}`), []string{"aws.administrators: ARNs of IAM roles", "aws.administrators: is missing"}},
		"two zones":         {with("aws.zones", "eu-central-1a,eu-central-1b"), []string{"aws.zones: names 2 different zones; want three"}},
		"one zone thrice":   {with("aws.zones", "eu-central-1a,eu-central-1a,eu-central-1a"), []string{"aws.zones: names 1 different zones"}},
		"foreign zone":      {with("aws.zones", "eu-central-1a,eu-central-1b,eu-west-1a"), []string{"aws.zones: holds eu-west-1a, which is not in aws.region"}},
		"lock":              {cloud(map[string]string{"aws.graceDays": "7", "aws.objectLockDays": "8"}), []string{"aws.objectLockDays: is 8, more than aws.graceDays (7)"}},
		"nodes":             {with("aws.nodes.min", "7"), []string{"aws.nodes.max: is 6, less than aws.nodes.min (7)"}},
		"log days":          {with("aws.logDays", "91"), []string{"aws.logDays: want one of 1 3 5 7 14 30 60 90"}},
		"NAT gateways":      {with("aws.natGateways", "4"), []string{"aws.natGateways: from 1 to 3"}},
		"everybody":         {with("aws.publicAccess", "0.0.0.0/0"), []string{"aws.publicAccess: public IPv4 ranges, of /8 or less", "aws.publicAccess: is missing"}},
		"a private range":   {with("aws.publicAccess", "10.0.0.0/16"), []string{"aws.publicAccess: public IPv4 ranges", "aws.publicAccess: is missing"}},
		"nobody gets in":    {with("aws.publicAccess", ""), []string{"aws.publicAccess: is missing: name the ranges from which Pulumi and assistctl reach"}},
		"Grafana's certificate": {cloud(map[string]string{"addons": `{"certManager":"install","monitoring":"install"}`, "monitoring.host": "grafana.example.com"}), []string{
			"monitoring.host: needs tls.from: cert-manager and tls.issuer",
		}},
		"Grafana for nothing": {cloud(map[string]string{"monitoring.host": "grafana.example.com", "tls.email": "", "tls.issuer": "letsencrypt"}), []string{
			"monitoring.host: contradicts addons.monitoring: none",
		}},
		"labels for nothing": {with("monitoring.labels", "release=prometheus"), []string{"monitoring.labels: contradicts addons.monitoring: none"}},
		"no label":           {cloud(map[string]string{"addons": `{"certManager":"install","monitoring":"existing"}`, "monitoring.labels": "release"}), []string{"monitoring.labels: labels as name=value"}},
		"monitoring within": {cloud(map[string]string{"addons": `{"certManager":"install","monitoring":"install"}`, "monitoring.namespace": "assistant-prod"}), []string{
			"monitoring.namespace: is assistant-prod, the environment's own",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("prod", test.values, nil)
			var invalid *Invalid
			if !errors.As(err, &invalid) {
				invalid = &Invalid{}
			}
			for _, want := range test.want {
				key, text, _ := strings.Cut(want, ": ")
				if !slices.ContainsFunc(invalid.Problems, func(p Problem) bool { return p.Key == key && strings.Contains(p.Text, text) }) {
					t.Errorf("no problem with %s saying %q in\n%v", key, text, err)
				}
			}
			if len(invalid.Problems) != len(test.want) {
				t.Errorf("%d problems, want %d:\n%v", len(invalid.Problems), len(test.want), err)
			}
		})
	}
}
