package telemetry

import "time"

// Clock tells the time. Whatever depends on the time takes one, so that a test can say what time it is.
type Clock func() time.Time

// SystemClock is the machine's clock in UTC.
func SystemClock() time.Time { return time.Now().UTC() }
