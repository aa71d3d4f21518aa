// Coredns is CoreDNS with the plugins that a test cluster's DNS needs. The stock program brings the clients of several clouds along.
package main

import (
	"github.com/coredns/coredns/coremain"

	// The plugins, by their names in the Corefile.
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
)

func main() { coremain.Run() }
