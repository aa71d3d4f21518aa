package telemetry_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/smart-assistant/platform/service/telemetry"
)

// TestTraceRequests: a request goes on with its caller's trace, and what is logged in it names the trace.
func TestTraceRequests(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	var log bytes.Buffer
	logger := telemetry.NewLogger(&log, slog.LevelInfo)
	handler := telemetry.TraceRequests(provider, func(*http.Request) string { return "/things/{id}" })(
		http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { logger.InfoContext(req.Context(), "hello") }))
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	for _, path := range []string{"/things/7", "/health"} {
		request := httptest.NewRequest(http.MethodGet, path, nil)
		request.Header.Set("Traceparent", "00-"+trace+"-00f067aa0ba902b7-01")
		handler.ServeHTTP(httptest.NewRecorder(), request)
	}
	all := spans.GetSpans()
	if len(all) != 1 || all[0].Name != "GET /things/{id}" || all[0].SpanContext.TraceID().String() != trace {
		t.Fatalf("spans: %+v", all)
	}
	for _, a := range all[0].Attributes {
		if strings.Contains(a.Value.String(), "/things/7") && a.Key != attribute.Key("url.path") {
			t.Errorf("an attribute of a name without number: %s", a.Key)
		}
	}
	if !strings.Contains(log.String(), `"trace_id":"`+trace+`"`) {
		t.Errorf("log: %s", &log)
	}
}

// TestNewTracing: what the variables name is what spans are sent to.
func TestNewTracing(t *testing.T) {
	got := make(chan string, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		got <- req.URL.Path + " " + string(body)
	}))
	t.Cleanup(collector.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	provider, err := telemetry.NewTracing(t.Context(), "v1.2.3", "replica-7")
	if err != nil {
		t.Fatal(err)
	}
	_, span := provider.Tracer("test").Start(context.Background(), "work")
	span.End()
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if sent := <-got; !strings.HasPrefix(sent, "/v1/traces ") || !strings.Contains(sent, "assistd") || !strings.Contains(sent, "v1.2.3") || !strings.Contains(sent, "replica-7") {
		t.Errorf("sent: %q", sent)
	}
}
