// Package dovecot starts throwaway Dovecot servers for tests: IMAP with TLS of an authority of their own, mail in Maildir.
package dovecot

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
)

// Server is a server on loopback. Its certificate is for Host.
type Server struct {
	Port      int // TLS from the first byte
	Plain     int // STARTTLS
	Roots     *x509.CertPool
	Authority []byte // the same as PEM
	folder    string
	delivery  atomic.Int64
	process   *exec.Cmd
	output    bytes.Buffer
}

// Host is the name that the certificate is for.
const Host = "localhost"

// The configuration is of a server that belongs to nobody else: no system user, no chroot, no folder outside its own.
var configuration = template.Must(template.New("").Parse(`
base_dir = {{.Folder}}/run
state_dir = {{.Folder}}/state
log_path = /dev/stderr
protocols = imap
default_internal_user = {{.User}}
default_internal_group = {{.Group}}
default_login_user = {{.User}}
first_valid_uid = 1
disable_plaintext_auth = yes
ssl = required
ssl_cert = <{{.Folder}}/server.pem
ssl_key = <{{.Folder}}/server.key
mail_location = maildir:~/Maildir
mail_max_userip_connections = 100
auth_cache_size = 0
auth_failure_delay = 0
auth_mechanisms = plain login
passdb {
  driver = passwd-file
  args = scheme=PLAIN {{.Folder}}/users
}
userdb {
  driver = passwd-file
  args = {{.Folder}}/users
}
namespace inbox {
  inbox = yes
  separator = /
  mailbox Archive {
    auto = create
    special_use = \Archive
  }
  mailbox Junk {
    auto = create
    special_use = \Junk
  }
  mailbox Trash {
    auto = create
    special_use = \Trash
  }
}
service anvil {
  chroot =
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service stats {
  chroot =
}
service imap-login {
  chroot =
  inet_listener imap {
    address = 127.0.0.1
    port = {{.Plain}}
  }
  inet_listener imaps {
    address = 127.0.0.1
    port = {{.Port}}
    ssl = yes
  }
}
`))

// Start starts a server that ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	program, err := exec.LookPath("dovecot")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/dovecot"); err != nil { // not in a user's PATH on Debian
			t.Fatal("dovecot is not here: scripts/install-test-tools.sh installs it")
		}
	}
	folder, err := os.MkdirTemp("", "dovecot-") // t.TempDir's is closed to the mail user
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	s := &Server{Port: postgrestest.FreePort(t), Plain: postgrestest.FreePort(t), folder: folder}
	s.must(t, os.Chmod(folder, 0o755))
	s.Authority = certificate(t, folder)
	s.Roots = x509.NewCertPool()
	s.Roots.AppendCertsFromPEM(s.Authority)
	owner := s.owner(t)
	var text bytes.Buffer
	s.must(t, configuration.Execute(&text, map[string]any{"Folder": folder, "User": owner.Username, "Group": group(t, owner), "Port": s.Port, "Plain": s.Plain}))
	s.must(t, os.WriteFile(s.path("dovecot.conf"), text.Bytes(), 0o644))
	s.must(t, os.WriteFile(s.path("users"), nil, 0o644))
	s.process = exec.Command(program, "-F", "-c", s.path("dovecot.conf"))
	s.process.Stdout, s.process.Stderr = &s.output, &s.output
	s.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	s.must(t, s.process.Start())
	t.Cleanup(func() {
		_ = s.process.Process.Signal(syscall.SIGTERM)
		_ = s.process.Wait()
	})
	s.await(t)
	return s
}

func (s *Server) await(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.Port))
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("dovecot does not listen: %v\n%s", err, &s.output)
		}
	}
}

// owner is whom mail belongs to: whoever runs the test, but Dovecot serves no mail of root's.
func (s *Server) owner(t testing.TB) *user.User {
	t.Helper()
	owner, err := user.Current()
	if err == nil && owner.Uid == "0" {
		owner, err = user.Lookup("nobody")
	}
	s.must(t, err)
	return owner
}

func group(t testing.TB, owner *user.User) string {
	t.Helper()
	g, err := user.LookupGroupId(owner.Gid)
	if err != nil {
		t.Fatal(err)
	}
	return g.Name
}

// User makes a user, or gives one another password.
func (s *Server) User(t testing.TB, name, password string) {
	t.Helper()
	text, err := os.ReadFile(s.path("users"))
	s.must(t, err)
	var lines []string
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, name+":") {
			lines = append(lines, line)
		}
	}
	owner := s.owner(t)
	lines = append(lines, fmt.Sprintf("%s:{PLAIN}%s:%s:%s::%s::\n", name, password, owner.Uid, owner.Gid, s.home(name)))
	s.must(t, os.MkdirAll(s.home(name), 0o755))
	s.own(t, s.home(name))
	s.must(t, os.WriteFile(s.path("users.new"), []byte(strings.Join(lines, "")), 0o644))
	s.must(t, os.Rename(s.path("users.new"), s.path("users")))
	s.known(t, name, password)
}

// known waits until the server has read the file again, which it does once a second.
func (s *Server) known(t testing.TB, name, password string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		out, err := exec.Command("doveadm", "-c", s.path("dovecot.conf"), "auth", "test", name, password).CombinedOutput()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("dovecot does not know %s: %v\n%s", name, err, out)
		}
	}
}

// Deliver puts a message into a mailbox.
func (s *Server) Deliver(t testing.TB, name, mailbox string, raw []byte) {
	t.Helper()
	box := s.mailbox(name, mailbox)
	for _, folder := range []string{filepath.Dir(box), box, filepath.Join(box, "tmp"), filepath.Join(box, "cur"), filepath.Join(box, "new")} {
		if err := os.Mkdir(folder, 0o755); err == nil {
			s.own(t, folder)
		}
	}
	file := fmt.Sprintf("%d.%d.test", time.Now().Unix(), s.delivery.Add(1))
	s.must(t, os.WriteFile(filepath.Join(box, "tmp", file), raw, 0o644))
	s.own(t, filepath.Join(box, "tmp", file))
	s.must(t, os.Rename(filepath.Join(box, "tmp", file), filepath.Join(box, "new", file)))
}

// Renumber gives a mailbox another UIDVALIDITY.
func (s *Server) Renumber(t testing.TB, name, mailbox string, validity uint32) {
	t.Helper()
	s.doveadm(t, "mailbox", "update", "-u", name, "--uid-validity", fmt.Sprint(validity), mailbox)
}

// Remove removes a mailbox with its messages.
func (s *Server) Remove(t testing.TB, name, mailbox string) {
	t.Helper()
	s.doveadm(t, "mailbox", "delete", "-u", name, mailbox)
}

func (s *Server) doveadm(t testing.TB, args ...string) {
	t.Helper()
	out, err := exec.Command("doveadm", append([]string{"-c", s.path("dovecot.conf")}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("doveadm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func (s *Server) mailbox(name, mailbox string) string {
	if mailbox == "INBOX" {
		return filepath.Join(s.home(name), "Maildir")
	}
	return filepath.Join(s.home(name), "Maildir", "."+strings.ReplaceAll(mailbox, "/", "."))
}

func (s *Server) home(name string) string { return s.path("home-" + name) }

func (s *Server) path(name string) string { return filepath.Join(s.folder, name) }

func (s *Server) own(t testing.TB, path string) {
	t.Helper()
	if os.Getuid() != 0 {
		return
	}
	owner := s.owner(t)
	var uid, gid int
	_, err := fmt.Sscan(owner.Uid+" "+owner.Gid, &uid, &gid)
	s.must(t, err)
	s.must(t, os.Chown(path, uid, gid))
}

func (s *Server) must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
