package graph

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A change of the release touches what belongs to the release, and nothing else; so assistctl can refuse a promotion that would change more.
var releaseOwn = map[string]*regexp.Regexp{
	"Deployment::api":      regexp.MustCompile(`^\.spec\.template\.(metadata\.annotations\.assistant/(release|commit|digest|settings\(json\).*)|spec\.(containers\[0\]\.(image|env\[\d+\].*)|terminationGracePeriodSeconds))$`),
	"CronJob::backup":      regexp.MustCompile(`^\.spec\.jobTemplate\.spec\.template\.spec\.containers\[0\]\.image$`),
	"CronJob::prune":       regexp.MustCompile(`^\.spec\.jobTemplate\.spec\.template\.spec\.containers\[0\]\.image$`),
	"ConfigMap::assistctl": regexp.MustCompile(`^\.data\.environment\.json\(json\)\.release\b`),
	"outputs":              regexp.MustCompile(`^\.environment\.release\b`),
}

// bornWithRelease are the objects that there are once there is a release.
var bornWithRelease = []string{"Deployment::api", "HorizontalPodAutoscaler::api", "PodDisruptionBudget::api", "CronJob::backup", "CronJob::prune"}

func kindAndName(resource string) string { return resource[strings.LastIndexAny(resource, ":$/")+1:] }

// short is "Deployment::api" of a resource's key.
func short(resource string) string {
	typ, name, ok := strings.Cut(resource[strings.LastIndex(resource, "$")+1:], "::")
	if !ok {
		return resource
	}
	return kindAndName(typ) + "::" + name
}

func variantWith(t *testing.T, name string, change func(Config)) *Graph {
	t.Helper()
	v, err := Environment(name)
	if err != nil {
		t.Fatal(err)
	}
	before := v.Change
	v.Change = func(c Config) { before(c); change(c) }
	g, err := v.Capture()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestAReleaseChangesItsOwnResourcesOnly(t *testing.T) {
	everyVariant(t, func(t *testing.T, v1 *Graph) {
		v2 := variantWith(t, v1.Variant, func(c Config) { c["release"] = ReleaseV2 })
		changed := map[string]bool{}
		for _, d := range Compare(v1, v2) {
			resource := short(d.Resource)
			changed[resource] = true
			if own := releaseOwn[resource]; own == nil || !own.MatchString(d.Path) {
				t.Errorf("a release changes %s", d)
			}
		}
		for resource := range releaseOwn {
			if !changed[resource] {
				t.Errorf("another release does not change %s", resource)
			}
		}
	})
}

func TestWithoutAReleaseNothingOfItIsThere(t *testing.T) {
	everyVariant(t, func(t *testing.T, with *Graph) {
		without := variantWith(t, with.Variant, func(c Config) { delete(c, "release") })
		for _, d := range Compare(without, with) {
			resource := short(d.Resource)
			switch {
			case d.Path == "" && d.A == "" && slices.Contains(bornWithRelease, resource):
			case (resource == "ConfigMap::assistctl" || resource == "outputs") && releaseOwn[resource].MatchString(d.Path):
			default:
				t.Errorf("the first release changes %s", d)
			}
		}
		if release := without.Environ()["release"]; release != nil {
			t.Errorf("the output's release is %v, want none", release)
		}
		if len(without.Find(Object("PodTemplate", "exec"))) != 1 || len(without.Find(Object("Service", "api"))) != 1 {
			t.Error("what the first deployment needs is not there before it")
		}
	})
}
