package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/smart-assistant/platform/cli/postgres"
	"github.com/smart-assistant/platform/service/schema"
	"github.com/smart-assistant/platform/service/schema/migrator"
)

// cluster is a PostgreSQL server with the service's schema. It is durable (fsync, synchronous commits), as one that people use.
type cluster struct {
	server *postgres.Server
	url    string
}

func startCluster(ctx context.Context, dir string) (*cluster, error) {
	binaries, err := postgres.Find("")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	const password = "benchmark"
	c := &cluster{server: &postgres.Server{
		Binaries: binaries, DataDir: filepath.Join(dir, "pg", "data"), Port: port, Log: filepath.Join(dir, "postgres.log"),
		Settings: map[string]string{
			"shared_buffers": "1GB", "maintenance_work_mem": "512MB", "max_wal_size": "8GB", "checkpoint_timeout": "30min", "autovacuum": "off",
		},
	}}
	if err := errors.Join(c.server.Init(ctx, password), c.server.Start(ctx)); err != nil {
		return nil, err
	}
	c.url = c.server.URL("postgres", postgres.Superuser, password)
	set, err := schema.Embedded()
	if err != nil {
		return nil, errors.Join(err, c.stop())
	}
	m, err := migrator.Open(c.url, set, migrator.Options{Release: "benchmark"})
	if err != nil {
		return nil, errors.Join(err, c.stop())
	}
	if err := errors.Join(m.Up(ctx, 0), m.Close()); err != nil {
		return nil, errors.Join(fmt.Errorf("migrate: %w", err), c.stop())
	}
	return c, nil
}

func (c *cluster) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return c.server.Stop(ctx, postgres.Immediate) // what is in it goes away with it
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
