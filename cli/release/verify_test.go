package release

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// scripted is a place that says of itself what the clock makes it say.
type scripted struct {
	*place
	now func() time.Duration
	say func(at time.Duration) (Running, error)
}

func (s scripted) Running(context.Context) (Running, error) { return s.say(s.now()) }

// What says nothing about the release does not end it: not for a minute. What it is itself to blame for does at once.
func TestVerifyJudgesTheReleaseAlone(t *testing.T) {
	well := Running{Up: true, Version: "v2", Want: 3, Ready: 3, Current: 3}
	short := func(starting int) Running {
		r := well
		r.Ready, r.Current, r.Starting = 2, 2, starting
		return r
	}
	away := fmt.Errorf("status: %w", ErrAway)
	between := func(from, to time.Duration, r Running, err error) func(time.Duration) (Running, error) {
		return func(at time.Duration) (Running, error) {
			if at >= from && at < to {
				return r, err
			}
			return well, nil
		}
	}
	const end = time.Hour
	for name, test := range map[string]struct {
		say   func(at time.Duration) (Running, error)
		want  error         // nil passes
		after time.Duration // at least and at most
		until time.Duration
	}{
		"nothing happens":               {between(0, 0, well, nil), nil, 10 * time.Second, 10 * time.Second},
		"the autoscaler wants another":  {between(3*time.Second, 9*time.Second, short(1), nil), nil, 10 * time.Second, 10 * time.Second},
		"it starts at the window's end": {between(9*time.Second, 25*time.Second, short(1), nil), nil, 25 * time.Second, 27 * time.Second},
		"it never starts":               {between(3*time.Second, end, short(1), nil), errStarting, 63 * time.Second, 65 * time.Second},
		"a replica fails":               {between(3*time.Second, 4*time.Second, short(0), nil), errors.New(""), 3 * time.Second, 4 * time.Second},
		"the connection is lost":        {between(3*time.Second, 40*time.Second, Running{}, away), nil, 40 * time.Second, 42 * time.Second},
		"the connection stays lost":     {between(3*time.Second, end, Running{}, away), ErrAway, 63 * time.Second, 65 * time.Second},
		"somebody takes it down":        {between(3*time.Second, end, Running{}, nil), ErrAway, 3 * time.Second, 4 * time.Second},
		"twice a little, with a pause": {func(at time.Duration) (Running, error) {
			return between(3*time.Second, 43*time.Second, short(1), nil)(at % (50 * time.Second))
		}, nil, 43 * time.Second, 45 * time.Second},
		"another release serves meanwhile": {between(3*time.Second, end, Running{Up: true, Version: "v1", Want: 3, Current: 3, Starting: 3}, nil), errors.New(""), 3 * time.Second, 4 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			at := time.Duration(0)
			x := &execution{
				Operator: &Operator{
					Progress: &quiet{}, Now: func() time.Time { return began.Add(at) },
					Sleep: func(_ context.Context, d time.Duration) error { at += d; return nil },
				},
				plan: &Plan{Verify: VerifyPlan{Window: 10 * time.Second, ErrorRate: 0.01}}, manifest: Manifest{Version: "v2"},
				to: &Environment{Name: "prod", Target: scripted{newPlace(3), func() time.Duration { return at }, test.say}},
			}
			_, _, err := x.verify(t.Context())
			if test.want == nil && err != nil || test.want != nil && err == nil || test.want != nil && test.want.Error() != "" && !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
			if at < test.after || at > test.until {
				t.Errorf("it took %s, want %s to %s", at, test.after, test.until)
			}
		})
	}
}
