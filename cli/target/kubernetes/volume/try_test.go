package volume_test

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/cli/postgres"
	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
	"github.com/smart-assistant/platform/cli/target/kubernetes/volume"
)

// A scratch server gives the roles today's passwords, wants them by network, and is gone whatever its check says.
func TestTry(t *testing.T) {
	v, live := newVolume(t)
	ctx := t.Context()
	if err := live.Server.Start(ctx); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, live.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(ctx, "create role assistd login password 'of the backup''s time'"); err != nil {
		t.Fatal(err)
	}
	conn.Close(ctx)
	if err := live.Stop(ctx, postgres.Fast); err != nil {
		t.Fatal(err)
	}
	dir := prepare(t, v, "one")
	if err := os.Chmod(dir, 0o770); err != nil { // as the kubelet may
		t.Fatal(err)
	}
	scratch := volume.Scratch{
		Port:      postgrestest.FreePort(t),
		Passwords: map[string]string{"postgres": "today's", "assistd": `to'day\`, "nobody-knows": "x"}, Settings: map[string]string{"fsync": "off"},
	}
	wrong := errors.New("not what was expected")
	seen := ""
	err = v.Try(ctx, dir, scratch, func(ctx context.Context, url string) error {
		seen = url
		for role, password := range map[string]string{"postgres": "today's", "assistd": `to'day\`} {
			config, err := pgx.ParseConfig(url)
			if err != nil {
				return err
			}
			config.User, config.Password = role, password
			conn, err := pgx.ConnectConfig(ctx, config)
			if err != nil {
				return err
			}
			conn.Close(ctx)
			config.Password = "of the backup's time"
			if _, err := pgx.ConnectConfig(ctx, config); err == nil {
				t.Errorf("role %s comes in with a password that is not today's", role)
			}
		}
		return wrong
	})
	if !errors.Is(err, wrong) {
		t.Fatal(err)
	}
	if conn, err := pgx.Connect(ctx, seen); err == nil {
		conn.Close(ctx)
		t.Error("the scratch server still answers")
	}
	control, err := postgres.ReadControl(ctx, v.Binaries, dir, nil)
	if err != nil || control.State != "shut down" {
		t.Errorf("it was left %q, %v", control.State, err)
	}
	if err := v.Swap(ctx, dir, "before", false); err != nil {
		t.Fatal(err)
	}
	if err := v.Try(ctx, dir, scratch, func(context.Context, string) error { return nil }); err == nil {
		t.Error("a second server was started on the live cluster")
	}
}
