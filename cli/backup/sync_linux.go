package backup

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// syncTree makes the files below dir durable, by writing out the whole file system that holds them: one wait instead of thousands.
// Linux reports write errors of the file system since 5.8.
func syncTree(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}
