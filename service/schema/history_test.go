package schema_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/smart-assistant/platform/service/schema"
)

func migration(version int64, content string) schema.Migration {
	return schema.Migration{Version: version, Name: "m", Phase: schema.Expand, SHA256: content}
}

func applied(list ...schema.Migration) []schema.Applied {
	var out []schema.Applied
	for _, m := range list {
		out = append(out, schema.Applied{Migration: m, Release: "v1"})
	}
	return out
}

func TestCompare(t *testing.T) {
	one, two, three := migration(1, "a"), migration(2, "b"), migration(3, "c")
	for name, test := range map[string]struct {
		list    []schema.Migration
		history []schema.Applied
		pending []int64
		later   []int64
		drift   []string // "<version> <kind>"
	}{
		"empty database": {list: []schema.Migration{one, two}, pending: []int64{1, 2}},
		"up to date":     {list: []schema.Migration{one, two}, history: applied(one, two)},
		"behind":         {list: []schema.Migration{one, two}, history: applied(one), pending: []int64{2}},
		"ahead":          {list: []schema.Migration{one}, history: applied(one, two, three), later: []int64{2, 3}},
		"edited":         {list: []schema.Migration{one, two}, history: applied(migration(1, "x"), two), drift: []string{"1 edited"}},
		"missing":        {list: []schema.Migration{one, three}, history: applied(one, two, three), drift: []string{"2 missing"}},
		"out of order": {
			list: []schema.Migration{one, two, three}, history: applied(one, three),
			pending: []int64{2}, drift: []string{"2 out-of-order"},
		},
		"below a later release's": {list: []schema.Migration{one, two}, history: applied(one, three), pending: []int64{2}, later: []int64{3}, drift: []string{"2 out-of-order"}},
		"everything at once": {
			list: []schema.Migration{one, three, migration(4, "d")}, history: applied(migration(1, "x"), two, migration(4, "d")),
			pending: []int64{3}, drift: []string{"1 edited", "2 missing", "3 out-of-order"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := schema.Compare(test.list, test.history)
			var pending, later []int64
			var drift []string
			for _, m := range s.Pending {
				pending = append(pending, m.Version)
			}
			for _, a := range s.Later {
				later = append(later, a.Version)
			}
			for _, d := range s.Drift {
				drift = append(drift, strings.Fields(d.String())[1]+" "+string(d.Kind))
				if d.Detail == "" {
					t.Errorf("%v has no detail", d)
				}
			}
			if !slices.Equal(pending, test.pending) || !slices.Equal(later, test.later) || !slices.Equal(drift, test.drift) {
				t.Errorf("pending %v, later %v, drift %v; want %v, %v, %v", pending, later, drift, test.pending, test.later, test.drift)
			}
		})
	}
}

func TestCompareNamesWhatWasRenamed(t *testing.T) {
	was, is := migration(1, "a"), migration(1, "b")
	was.Name, is.Name = "before", "after"
	s := schema.Compare([]schema.Migration{is}, applied(was))
	if len(s.Drift) != 1 || !strings.Contains(s.Drift[0].Detail, "before") || !strings.Contains(s.Drift[0].Detail, "v1") {
		t.Errorf("drift %v names neither the old name nor the release", s.Drift)
	}
}

func TestReady(t *testing.T) {
	one, two := migration(1, "a"), migration(2, "b")
	expand, contract := migration(3, "c"), migration(3, "c")
	contract.Phase = schema.Contract
	needs := func(n int64) schema.Migration { contract.Needs = n; return contract }
	list := []schema.Migration{one, two}
	for name, test := range map[string]struct {
		history []schema.Applied
		want    string // in the reason; "" is ready
	}{
		"never migrated":              {nil, "migration 1"},
		"behind":                      {applied(one), "migration 2"},
		"up to date":                  {applied(one, two), ""},
		"a later expand":              {applied(one, two, expand), ""},
		"a contract of older schemas": {applied(one, two, needs(2)), ""},
		"a contract of this schema":   {applied(one, two, needs(3)), "dropped"},
		"a hole below a later one":    {applied(one, expand), "migration 2"},
		"an edited one is still fine": {applied(migration(1, "x"), two), ""}, // drift is the migrator's to refuse; the schema serves
	} {
		t.Run(name, func(t *testing.T) {
			err := schema.Ready(list, test.history)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
