package signin

// What this part is about to use; the file goes when it does.
import (
	_ "github.com/coreos/go-oidc/v3/oidc"
)
