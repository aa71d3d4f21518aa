package telemetry

import (
	"context"
	"fmt"
	"net/http"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	"go.opentelemetry.io/otel/trace"
)

// NewTracing sends spans by OTLP over HTTP to where OpenTelemetry's own variables say (OTEL_EXPORTER_OTLP_ENDPOINT and its kin, see the
// OpenTelemetry specification, "OTLP Exporter Configuration"). Shutdown of the provider sends what is left.
func NewTracing(ctx context.Context, version, replica string) (*sdktrace.TracerProvider, error) {
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("set up the export of traces: %w", err)
	}
	return sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(resource.NewWithAttributes(
		semconv.SchemaURL, semconv.ServiceName("assistd"), semconv.ServiceVersion(version), semconv.ServiceInstanceID(replica),
	))), nil
}

// TraceRequests makes a span of each request but probes, named by method and route; route tells the pattern once the request was
// routed. It goes on with a trace that the caller began (W3C Trace Context).
func TraceRequests(provider trace.TracerProvider, route func(*http.Request) string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		named := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			defer func() {
				pattern := route(req)
				span := trace.SpanFromContext(req.Context())
				span.SetName(req.Method + " " + pattern)
				span.SetAttributes(semconv.HTTPRoute(pattern))
			}()
			next.ServeHTTP(w, req)
		})
		return otelhttp.NewHandler(named, "request",
			otelhttp.WithTracerProvider(provider), otelhttp.WithPropagators(propagation.TraceContext{}),
			otelhttp.WithFilter(func(req *http.Request) bool { return !IsProbe(req.URL.Path) }))
	}
}

// traceID is the trace that a context belongs to, "" for none.
func traceID(ctx context.Context) string {
	if span := trace.SpanContextFromContext(ctx); span.HasTraceID() {
		return span.TraceID().String()
	}
	return ""
}
