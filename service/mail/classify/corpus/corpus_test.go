package corpus

import (
	"strings"
	"testing"
)

func TestReadRefusesWhatIsNoCorpus(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"an unknown category": {`{"id":"1","category":"spam"}`, `line 1: "spam" is no category`},
		"an unknown field":    {"\n" + `{"id":"1","category":"other","body":"x"}`, "line 2: "},
		"an id again":         {`{"id":"1","category":"other"}` + "\n" + `{"id":"1","category":"other"}`, `line 2: the id "1"`},
		"no id":               {`{"category":"other"}`, `the id ""`},
		"no JSON":             {`id,category`, "line 1: "},
	} {
		if _, err := Read(strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestMeasureCounts(t *testing.T) {
	examples, err := Read(strings.NewReader(`{"id":"1","category":"other","text":"hello"}
{"id":"2","category":"rejection","text":"We regret to inform you that your application was unsuccessful."}
{"id":"3","category":"rejection","text":"hello"}
`))
	if err != nil {
		t.Fatal(err)
	}
	r := Measure(examples)
	rejection, other := r.Classes[3], r.Classes[5]
	if rejection.Precision != 1 || rejection.Recall != 0.5 || other.Precision != 0.5 || other.Recall != 1 || len(r.Wrong) != 1 || r.Wrong[0].Example.ID != "3" {
		t.Errorf("%+v, wrong %v", r.Classes, r.Wrong)
	}
	var messages int
	for _, b := range r.Bands {
		messages += b.Messages
	}
	if messages != 3 {
		t.Errorf("the bands hold %d messages", messages)
	}
}
