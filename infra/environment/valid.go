package environment

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

const (
	cronText     = "five fields of cron in UTC, such as \"0 2 * * *\""
	imageText    = "an image with a tag that is not latest, or a digest"
	passwordText = "at least 12 of the letters A-Z and a-z, digits and - . _ ~"
)

var (
	namePattern         = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	quantityPattern     = regexp.MustCompile(`^([0-9]{1,15}(?:\.[0-9]{1,3})?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?$`)
	registryPattern     = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$`)
	imagePattern        = regexp.MustCompile(`^[a-z0-9][a-z0-9./:_-]*?(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?$`)
	bucketPattern       = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	cronField           = regexp.MustCompile(`^(\*|[0-9]{1,2}(-[0-9]{1,2})?)(/[0-9]{1,2})?$`)
	passwordPattern     = regexp.MustCompile(`^[A-Za-z0-9._~-]{12,128}$`)
	regionPattern       = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]$`)
	zonePattern         = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9][a-z]$`)
	minorPattern        = regexp.MustCompile(`^1\.[0-9]{2}$`)
	instanceTypePattern = regexp.MustCompile(`^[a-z][a-z0-9-]*\.[a-z0-9-]+$`)
	accountPattern      = regexp.MustCompile(`^[0-9]{12}$`)
	pairPattern         = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9./_-]*=[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)
	roleARNPattern      = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+$`)
)

func validName(s string) bool    { return namePattern.MatchString(s) }
func name(s string) bool         { return validName(s) }
func registry(s string) bool     { return registryPattern.MatchString(s) }
func bucketName(s string) bool   { return bucketPattern.MatchString(s) && !strings.Contains(s, "..") }
func password(s string) bool     { return passwordPattern.MatchString(s) }
func region(s string) bool       { return regionPattern.MatchString(s) }
func zone(s string) bool         { return zonePattern.MatchString(s) }
func minorVersion(s string) bool { return minorPattern.MatchString(s) }
func instanceType(s string) bool { return instanceTypePattern.MatchString(s) }
func account(s string) bool      { return accountPattern.MatchString(s) }
func pair(s string) bool         { return pairPattern.MatchString(s) }
func roleARN(s string) bool      { return roleARNPattern.MatchString(s) }

// line is any text of one line.
func line(s string) bool {
	return strings.TrimSpace(s) == s && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' })
}

func host(s string) bool {
	if len(s) > 253 || !strings.Contains(s, ".") {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !validName(label) {
			return false
		}
	}
	return true
}

func hostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return false
	}
	n, err := strconv.Atoi(port)
	return err == nil && n > 0 && n < 1<<16
}

func email(s string) bool {
	a, err := mail.ParseAddress(s)
	return err == nil && a.Address == s
}

func quantity(s string) bool {
	n, ok := amount(s)
	return ok && n > 0
}

var units = map[string]float64{
	"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
	"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40,
}

func amount(s string) (float64, bool) {
	parts := quantityPattern.FindStringSubmatch(s)
	if parts == nil {
		return 0, false
	}
	n, err := strconv.ParseFloat(parts[1], 64)
	return n * units[parts[2]], err == nil
}

// Bytes is the number of bytes of a quantity of Settings.
func Bytes(quantity string) int64 {
	n, _ := amount(quantity)
	return int64(n)
}

// image wants a reference that means the same tomorrow, as far as a name can.
func image(s string) bool {
	parts := imagePattern.FindStringSubmatch(s)
	return parts != nil && (parts[2] != "" || parts[1] != "" && parts[1] != ":latest")
}

// cron is a syntax check: five fields of numbers, ranges, steps and lists.
func cron(s string) bool {
	fields := strings.Fields(s)
	if len(fields) != 5 {
		return false
	}
	most := []int{59, 23, 31, 12, 7}
	for i, field := range fields {
		for part := range strings.SplitSeq(field, ",") {
			if !cronField.MatchString(part) {
				return false
			}
			rest, step, stepped := strings.Cut(part, "/")
			if stepped && number(step) == 0 {
				return false
			}
			if rest == "*" {
				continue
			}
			from, to, isRange := strings.Cut(rest, "-")
			if number(from) > most[i] || (i == 2 || i == 3) && number(from) == 0 || isRange && (number(to) > most[i] || number(to) < number(from)) {
				return false
			}
		}
	}
	return true
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

func cidr(s string) bool {
	p, err := netip.ParsePrefix(s)
	return err == nil && p.Addr().Is4() && p.Addr().IsPrivate() && p.Bits() >= 16 && p.Bits() <= 20 && p.Masked() == p
}

// narrowCIDR is not the whole world, nor much of it.
func narrowCIDR(s string) bool {
	p, err := netip.ParsePrefix(s)
	return err == nil && p.Addr().Is4() && p.Masked() == p && p.Bits() >= 8
}

// publicCIDR is one that EKS takes for its public endpoint: nobody comes from a private address there.
func publicCIDR(s string) bool {
	p, err := netip.ParsePrefix(s)
	return err == nil && narrowCIDR(s) && !p.Addr().IsPrivate() && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast()
}

const egressText = "networks with a port, such as 10.20.0.0/16:8000, that the service may connect to beside public addresses at 443, 80, 993, 465 and 587: " +
	"a model's server or an OTLP collector in a private network; a Service of the cluster by the network of its pods"

// allow reads the setting "api.egress".
func (a *API) allow(text string) error {
	a.Egress = nil
	for _, member := range members(text) {
		d, ok := destination(member)
		if !ok {
			return fmt.Errorf("holds %s; want %s", shown(member), egressText)
		}
		if d.Network.Overlaps(linkLocalV4) || d.Network.Overlaps(linkLocalV6) {
			return fmt.Errorf("holds %s, a network with link-local addresses, where nodes have their credentials; name a smaller one", shown(member))
		}
		a.Egress = append(a.Egress, d)
	}
	return nil
}

var linkLocalV4, linkLocalV6 = netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fe80::/10")

// destination reads a network and a port. The last colon parts them, in IPv6 as well.
func destination(text string) (Destination, bool) {
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return Destination{}, false
	}
	network, err := netip.ParsePrefix(text[:i])
	if err != nil || network.Addr().Is4In6() || network.Masked() != network {
		return Destination{}, false
	}
	port, err := strconv.ParseUint(text[i+1:], 10, 16)
	return Destination{network, uint16(port)}, err == nil && port > 0
}

func pemCertificates(s string) bool {
	rest := []byte(strings.TrimSpace(s))
	for len(rest) > 0 {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" {
			return false
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return false
		}
	}
	return s != ""
}

func pemPrivateKey(s string) bool {
	block, _ := pem.Decode([]byte(s))
	if block == nil {
		return false
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key.Curve == elliptic.P256()
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return false
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	return ok && ec.Curve == elliptic.P256()
}

func smtpURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "smtps" || u.Scheme == "smtp") && u.Hostname() != ""
}

// oidcProviders is a list as the service reads it. Files it cannot name: none but this one comes to the pod.
func oidcProviders(s string) bool {
	var list []struct {
		Name         string `json:"name"`
		Issuer       string `json:"issuer"`
		ClientID     string `json:"client_id"`
		ClientSecret string `json:"client_secret"`
	}
	if err := yaml.UnmarshalStrict([]byte(s), &list); err != nil || len(list) == 0 {
		return false
	}
	for _, p := range list {
		if p.Name == "" || !strings.HasPrefix(p.Issuer, "https://") || p.ClientID == "" {
			return false
		}
	}
	return true
}

func masterKeys(s string) bool {
	lines := strings.Fields(s)
	for _, line := range lines {
		if key, err := base64.StdEncoding.DecodeString(line); err != nil || len(key) != 32 {
			return false
		}
	}
	return len(lines) > 0
}
