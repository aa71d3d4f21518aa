package upstream

// What this part is about to use; the file goes when it does.
import (
	_ "github.com/sony/gobreaker/v2"
)
