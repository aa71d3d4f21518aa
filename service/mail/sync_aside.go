package mail

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// aside are messages that a server has and does not hand out: one must not keep all those behind it from coming. They are asked for
// again at the end of each sync, and given up (counted as skipped) when that was in vain often enough and for long enough.
type aside[K interface{ ~uint32 | ~string }] map[K]trouble

type trouble struct {
	Since time.Time `json:"since"`
	Tries int       `json:"tries"`
}

const (
	asideMost  = 20 // of one mailbox; with more of them it is the server that fails
	asideTries = 10
	asideFor   = 24 * time.Hour
)

// put notes that a message did not come. False when there are too many of them.
func (a aside[K]) put(name K, now time.Time) bool {
	t, known := a[name]
	if !known && len(a) >= asideMost {
		return false
	}
	if !known {
		t.Since = now
	}
	t.Tries++
	a[name] = t
	return true
}

// hopeless says that a message which did not come again is given up.
func (a aside[K]) hopeless(name K, now time.Time) bool {
	t := a[name]
	return t.Tries >= asideTries && now.Sub(t.Since) >= asideFor
}

// before are the messages that were there already when a sync began, in order.
func (a aside[K]) before(began time.Time) []K {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(a)), func(name K) bool { return !a[name].Since.Before(began) })
}

// noteAside tells the user of messages that are set aside.
func (r *run) noteAside(n int) {
	if n == 0 {
		return
	}
	if r.notice != "" {
		r.notice += "; "
	}
	r.notice += fmt.Sprintf("the server does not hand out %d of its messages; the others are here, and these are asked for again", n)
}
