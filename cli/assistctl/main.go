// Assistctl brings releases through the environments and their data back.
package main

import (
	"os"

	"github.com/smart-assistant/platform/cli/command"
)

// Set by the linker: -X main.version=… -X main.commit=…
var version, commit string

func main() { os.Exit(command.Main(command.Build{Version: version, Commit: commit})) }
