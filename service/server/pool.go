package server

import (
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// poolCollector reads the database pool's own counters whenever the metrics are asked for.
type poolCollector struct{ pool *pgxpool.Pool }

var (
	poolConnections = prometheus.NewDesc("assistd_db_connections", "Connections to the database.", []string{"state"}, nil)
	poolLimit       = prometheus.NewDesc("assistd_db_connections_max", "Connections that the pool may open.", nil, nil)
	poolWaits       = prometheus.NewDesc("assistd_db_acquire_waits_total", "Requests that found no free connection.", nil, nil)
	poolWaited      = prometheus.NewDesc("assistd_db_acquire_seconds_total", "Time spent waiting for a connection.", nil, nil)
)

func (c poolCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{poolConnections, poolLimit, poolWaits, poolWaited} {
		ch <- d
	}
}

func (c poolCollector) Collect(ch chan<- prometheus.Metric) {
	stat := c.pool.Stat()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(poolConnections, float64(stat.AcquiredConns()), "used")
	gauge(poolConnections, float64(stat.IdleConns()), "idle")
	gauge(poolLimit, float64(stat.MaxConns()))
	ch <- prometheus.MustNewConstMetric(poolWaits, prometheus.CounterValue, float64(stat.EmptyAcquireCount()))
	ch <- prometheus.MustNewConstMetric(poolWaited, prometheus.CounterValue, stat.EmptyAcquireWaitTime().Seconds())
}
