package command

import (
	"context"
	"fmt"
	"io"
	"net/url"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/cli/migrate"
	"github.com/smart-assistant/platform/cli/target"
	"github.com/smart-assistant/platform/cli/target/local"
	"github.com/smart-assistant/platform/cli/terminal"
)

// checkRestored looks at a recovered database before it goes live: it brings the schema forward to what the release that runs needs, and counts
// what is there. admin is the superuser's connection string.
func (e *environment) checkRestored(ctx context.Context, admin, version string) (string, error) {
	service, err := serviceURL(admin)
	if err != nil {
		return "", err
	}
	forward := ""
	if version != "" {
		if forward, err = e.bringForward(ctx, service, version); err != nil {
			return "", err
		}
	}
	conn, err := e.site.Connect(ctx, service)
	if err != nil {
		return "", fmt.Errorf("look at the restored database: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // only read from
	tables, rows, err := count(ctx, conn)
	if err != nil {
		return "", fmt.Errorf("look at the restored database: %w", err)
	}
	return fmt.Sprintf("%s%s, %s", forward, terminal.Plural(int64(tables), "table"), terminal.Plural(rows, "row")), nil
}

// serviceURL is the same server as the service's role sees it: what a migration makes there belongs to that role.
func serviceURL(admin string) (string, error) {
	u, err := url.Parse(admin)
	if err != nil {
		return "", fmt.Errorf("connection string of the restored database: %w", err)
	}
	u.Path = "/" + local.Database
	q := u.Query()
	q.Set("options", "-crole="+local.ServiceRole)
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// bringForward runs the release's own migrations on the restored database.
func (e *environment) bringForward(ctx context.Context, databaseURL, version string) (string, error) {
	m, err := e.release.Releases.Get(ctx, version)
	if err != nil {
		return "", err
	}
	if err := e.install(ctx, m); err != nil {
		return "", err
	}
	d, err := e.site.deployment(m)
	if err != nil {
		return "", err
	}
	run := elsewhere{e.site, d.Build, databaseURL}
	before, err := migrate.Status(ctx, run)
	if err != nil {
		return "", fmt.Errorf("schema of the restored database: %w", err)
	}
	if len(before.Pending) == 0 {
		return fmt.Sprintf("schema %d, ", before.Current), nil
	}
	result, err := migrate.Up(ctx, run, migrate.Options{})
	if err != nil {
		return "", fmt.Errorf("bring the restored database forward to %s: %w", version, err)
	}
	return fmt.Sprintf("schema %d → %d, ", before.Current, result.Current), nil
}

// elsewhere runs a release's assistd against another database than the environment's live one.
type elsewhere struct {
	place       site
	build       target.Build
	databaseURL string
}

func (r elsewhere) Exec(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	return r.place.ExecOn(ctx, r.databaseURL, r.build, args, stdout, stderr)
}

// count counts every row of the service's tables: the number that people compare with what they remember.
func count(ctx context.Context, conn *pgx.Conn) (tables int, rows int64, err error) {
	found, err := conn.Query(ctx, `select format('%I.%I', schemaname, tablename) from pg_tables where schemaname not in ('pg_catalog', 'information_schema') order by 1`)
	if err != nil {
		return 0, 0, err
	}
	names, err := pgx.CollectRows(found, pgx.RowTo[string])
	if err != nil {
		return 0, 0, err
	}
	for _, name := range names {
		var n int64
		if err := conn.QueryRow(ctx, "select count(*) from "+name).Scan(&n); err != nil {
			return 0, 0, fmt.Errorf("count %s: %w", name, err)
		}
		rows += n
	}
	return len(names), rows, nil
}
