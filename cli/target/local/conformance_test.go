package local

import (
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/target/targettest"
)

func TestConformance(t *testing.T) {
	targettest.Run(t, func(t *testing.T) targettest.Place {
		e := newEnvironment(t, func(c *Config) { c.ReadyTimeout = 4 * time.Second })
		up(t, e)
		return targettest.Place{
			Target: e,
			Down: func(t *testing.T) {
				t.Helper()
				if err := e.Down(t.Context()); err != nil {
					t.Fatal(err)
				}
			},
			Up: func(t *testing.T) { t.Helper(); up(t, e) },
		}
	})
}
