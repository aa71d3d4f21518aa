package account

// What this part is about to use; the file goes when it does.
import (
	_ "github.com/wneessen/go-mail"
)
