package kubernetes

import (
	"io"

	"k8s.io/klog/v2"
)

// Client-go tells standard error of every connection that ends in the middle, and that is a person's screen. What matters comes back as an
// error.
func init() {
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
}
