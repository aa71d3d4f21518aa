package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/cli/postgres"
)

// This file is about scratch servers: a prepared cluster is started, looked at, and stopped, before it may become the live one.

// Scratch says how a scratch server is reached.
type Scratch struct {
	Address string // IP address to listen on, beside 127.0.0.1
	Port    int
	// Certificate and Key are files for TLS; "" for none. With them, connections without TLS are refused.
	Certificate, Key string
	// Passwords are those of today, by role. A backup brings the ones of its time: a role that is there gets today's before anybody looks.
	Passwords map[string]string
	// Settings are server parameters.
	Settings map[string]string
}

// Try starts a server of its own on a prepared cluster, waits until it has recovered, lets check look at it, and stops it. The server archives
// nothing and wants a password; url is its superuser's, in the database postgres, and does not speak of TLS.
func (v *Volume) Try(ctx context.Context, dir string, s Scratch, check func(ctx context.Context, url string) error) error {
	if err := v.try(ctx, dir, s, check); err != nil {
		return fmt.Errorf("try %s: %w", dir, err)
	}
	return nil
}

func (v *Volume) try(ctx context.Context, dir string, s Scratch, check func(ctx context.Context, url string) error) (err error) {
	if err := v.endScratch(ctx, dir); err != nil {
		return err
	}
	if live, err := v.IsLive(filepath.Base(dir)); err != nil || live {
		return errors.Join(err, errors.New("it is the live cluster"))
	}
	// The kubelet may have opened the volume's files to its group since the cluster was unpacked, and a server refuses such a folder.
	if err := os.Chmod(dir, 0o700); err != nil {
		return err
	}
	access, err := v.access(s)
	if err != nil {
		return err
	}
	defer os.RemoveAll(access)
	server := v.scratch(dir, access, s)
	if err := server.Start(ctx); err != nil {
		return err
	}
	// Whatever the check says, and also when ctx has ended, no server stays behind.
	defer func() { err = errors.Join(err, v.endScratch(context.WithoutCancel(ctx), dir)) }()
	if err := setPasswords(ctx, access, s); err != nil {
		return err
	}
	host := s.Address
	if host == "" {
		host = "127.0.0.1"
	}
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(postgres.Superuser, s.Passwords[postgres.Superuser]),
		Host: net.JoinHostPort(host, strconv.Itoa(s.Port)), Path: "/postgres",
	}
	return check(ctx, u.String())
}

// access makes the folder that says who may connect: with the socket in it, which only the server's user reaches, whoever reaches it; by
// network, who has a password.
func (v *Volume) access(s Scratch) (string, error) {
	owner := v.Owner
	if owner == nil {
		var err error
		if owner, err = postgres.ServerOwner(); err != nil {
			return "", err
		}
	}
	dir, err := os.MkdirTemp("", accessPrefix) // a short path: a socket's name may have 107 bytes
	if err != nil {
		return "", err
	}
	network := "host"
	if s.Certificate != "" {
		network = "hostssl"
	}
	rules := fmt.Sprintf("local %[1]s %[1]s trust\n%[2]s %[1]s %[1]s %[1]s scram-sha-256\n", "all", network)
	hba := filepath.Join(dir, "pg_hba.conf")
	err = errors.Join(os.WriteFile(hba, []byte(rules), 0o600), owner.Chown(hba), owner.Chown(dir))
	if err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

func (v *Volume) scratch(dir, access string, s Scratch) *postgres.Server {
	settings := map[string]string{
		"archive_mode": "off", "archive_command": "", "hba_file": filepath.Join(access, "pg_hba.conf"), "ssl": "off",
		"unix_socket_permissions": "0700", "password_encryption": "scram-sha-256",
	}
	if s.Certificate != "" {
		settings["ssl"], settings["ssl_cert_file"], settings["ssl_key_file"], settings["ssl_ca_file"] = "on", s.Certificate, s.Key, ""
	}
	maps.Copy(settings, s.Settings)
	return &postgres.Server{
		Binaries: v.Binaries, DataDir: dir, Port: s.Port, Listen: s.Address, Sockets: access, Log: filepath.Join(access, "postgres.log"), Owner: v.Owner, Settings: settings,
	}
}

// setPasswords gives the roles today's passwords, over the socket. Roles that the backup does not know stay away.
func setPasswords(ctx context.Context, socket string, s Scratch) error {
	conn, err := pgx.Connect(ctx, fmt.Sprintf("host=%s port=%d user=%s dbname=postgres sslmode=disable", socket, s.Port, postgres.Superuser))
	if err != nil {
		return fmt.Errorf("set today's passwords: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // nothing hangs on it
	for _, role := range slices.Sorted(maps.Keys(s.Passwords)) {
		var statement *string
		err := conn.QueryRow(ctx, "select (select format('alter role %I password %L', rolname, $2::text) from pg_roles where rolname = $1)", role, s.Passwords[role]).Scan(&statement)
		if err != nil {
			return fmt.Errorf("look for role %s: %w", role, err)
		}
		if statement == nil {
			continue
		}
		if _, err := conn.Exec(ctx, "set log_statement = none"); err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, *statement); err != nil {
			return fmt.Errorf("set today's password of role %s: %w", role, err)
		}
	}
	return nil
}

// EndScratches stops every server that Try has left.
func (v *Volume) EndScratches(ctx context.Context) error {
	entries, err := os.ReadDir(v.clusterPath(""))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var errs []error
	for _, entry := range entries {
		if live, err := v.IsLive(entry.Name()); entry.IsDir() && !live {
			errs = append(errs, err, v.endScratch(ctx, v.clusterPath(entry.Name())))
		}
	}
	return errors.Join(errs...)
}

// accessPrefix is how the names of folders begin that access makes.
const accessPrefix = "try-"

// endScratch stops a server that Try started, in this process or in one that was killed, and removes the folder with its socket.
func (v *Volume) endScratch(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	access := ""
	if said, err := os.ReadFile(filepath.Join(dir, "postmaster.pid")); err == nil {
		if lines := strings.Split(string(said), "\n"); len(lines) > 4 { // PostgreSQL's src/include/utils/pidfile.h: LOCK_FILE_LINE_SOCKET_DIR
			access = lines[4]
		}
	}
	err := (&postgres.Server{DataDir: dir}).Stop(ctx, postgres.Fast)
	if err == nil && strings.HasPrefix(filepath.Base(access), accessPrefix) {
		err = os.RemoveAll(access)
	}
	return err
}
