package server

// What this part is about to use; the file goes when it does.
import (
	_ "github.com/go-chi/httprate"
	_ "github.com/redis/go-redis/v9"
	_ "github.com/rs/cors"
	_ "go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	_ "go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	_ "go.opentelemetry.io/otel/sdk/trace"
)
