package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/smart-assistant/platform/cli/fault"
)

// Owner is the user whom a server runs as and whom its files belong to. PostgreSQL refuses to run as root.
type Owner struct {
	UID, GID int
	Name     string
}

// ServerOwner returns the user for servers that this process starts: nil when this process is not root (the server is then
// its own), otherwise the user postgres, or nobody where there is no such user.
func ServerOwner() (*Owner, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if unknown := user.UnknownUserError(""); errors.As(err, &unknown) {
			continue
		} else if err != nil {
			return nil, fmt.Errorf("look up user %s: %w", name, err)
		}
		uid, err := strconv.Atoi(u.Uid)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		gid, err := strconv.Atoi(u.Gid)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		return &Owner{UID: uid, GID: gid, Name: name}, nil
	}
	return nil, fault.Hint(errors.New("PostgreSQL refuses to run as root, and there is neither a user postgres nor a user nobody"),
		"run as another user, or `useradd --system postgres`")
}

// Chown gives a file or folder to the owner. A nil owner changes nothing.
func (o *Owner) Chown(path string) error {
	if o == nil {
		return nil
	}
	return os.Lchown(path, o.UID, o.GID)
}

// Command is exec.CommandContext run as the owner, free of the caller's PG* variables and locale.
func (o *Owner) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = "/" // the caller's own folder may be closed to the owner
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "TZ=UTC"}
	if libs := os.Getenv("LD_LIBRARY_PATH"); libs != "" {
		cmd.Env = append(cmd.Env, "LD_LIBRARY_PATH="+libs)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if o != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(o.UID), Gid: uint32(o.GID)}
	}
	return cmd
}

// Reach says whether the owner can pass through every folder above path, and names the one that is closed to it.
// Access control lists are not looked at.
func (o *Owner) Reach(path string) error {
	if o == nil {
		return nil
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err == nil && !o.mayPass(info) {
			return fault.Hint(
				fmt.Errorf("the server's user %s cannot reach %s: folder %s is closed to it (mode %#o)", o.Name, path, dir, info.Mode().Perm()),
				"choose a folder that every user can pass through, such as one below /var/lib, or run `chmod o+x "+dir+"`")
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

func (o *Owner) mayPass(info os.FileInfo) bool {
	mode := info.Mode().Perm()
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case ok && int(stat.Uid) == o.UID:
		return mode&0o100 != 0
	case ok && int(stat.Gid) == o.GID:
		return mode&0o010 != 0
	default:
		return mode&0o001 != 0
	}
}
