// Command sources prints the hash of the Pulumi program's sources in the working directory, for the linker.
package main

import (
	"fmt"
	"os"

	"github.com/smart-assistant/platform/stacks/sources/hash"
)

func main() {
	sum, err := hash.Sources(os.DirFS("."))
	if err != nil {
		fmt.Fprintln(os.Stderr, "hash the sources of stacks:", err)
		os.Exit(1)
	}
	fmt.Println(sum)
}
