package infra

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestSubnetRanges(t *testing.T) {
	public, private, err := subnetRanges("10.20.0.0/16", 3)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"10.20.0.0/19", "10.20.32.0/19", "10.20.64.0/19"}; !slices.Equal(private, want) {
		t.Errorf("private %v; want %v", private, want)
	}
	if want := []string{"10.20.128.0/19", "10.20.160.0/19", "10.20.192.0/19"}; !slices.Equal(public, want) {
		t.Errorf("public %v; want %v", public, want)
	}
	for _, cidr := range []string{"10.0.0.0/16", "172.16.0.0/20", "192.168.64.0/18"} {
		public, private, err := subnetRanges(cidr, 3)
		if err != nil {
			t.Fatal(err)
		}
		whole := netip.MustParsePrefix(cidr)
		var seen []netip.Prefix
		for _, text := range append(public, private...) {
			p := netip.MustParsePrefix(text)
			if p.Masked() != p || !whole.Contains(p.Addr()) || slices.ContainsFunc(seen, p.Overlaps) {
				t.Errorf("%s of %s is no range of its own in it", p, cidr)
			}
			seen = append(seen, p)
		}
	}
	for cidr, want := range map[string]string{"10.0.0.0/27": "too small", "fd00::/8": "no IPv4 range", "x": "no IPv4 range"} {
		if _, _, err := subnetRanges(cidr, 3); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want an error with %q", cidr, err, want)
		}
	}
}

func TestNodes(t *testing.T) {
	for name, want := range map[string]string{
		"m7i.large": "AL2023_x86_64_STANDARD", "g4dn.xlarge": "AL2023_x86_64_STANDARD", "m6idn.large": "AL2023_x86_64_STANDARD",
		"m7g.large": "AL2023_ARM_64_STANDARD", "c7gn.xlarge": "AL2023_ARM_64_STANDARD", "t4g.medium": "AL2023_ARM_64_STANDARD",
		"is4gen.large": "AL2023_ARM_64_STANDARD", "a1.large": "AL2023_ARM_64_STANDARD",
	} {
		if got := amiType(name); got != want {
			t.Errorf("%s runs on %s; want %s", name, got, want)
		}
	}
	for total, want := range map[int][]int{3: {1, 1, 1}, 4: {2, 1, 1}, 1: {1, 0, 0}, 8: {3, 3, 2}} {
		var got []int
		for i := range 3 {
			got = append(got, share(total, 3, i))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%d nodes go to the zones as %v; want %v", total, got, want)
		}
	}
}
