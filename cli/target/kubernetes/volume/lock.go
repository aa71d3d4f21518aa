package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Lock waits until nobody else is at work on the volume: a process whose caller is gone may take a moment to notice.
func (v *Volume) Lock(ctx context.Context) (unlock func() error, err error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if unlock, err = v.TryLock(); err != nil || unlock != nil {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("somebody else is at work on the volume: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// TryLock is Lock without waiting: nil when somebody is at work. The lock ends with the process.
func (v *Volume) TryLock() (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(v.Root, ".assistctl.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the volume: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, f.Close()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock the volume: %w", err), f.Close())
	}
	return f.Close, nil
}
