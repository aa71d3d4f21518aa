package job

// What this part is about to use; the file goes when it does.
import (
	_ "github.com/google/uuid"
	_ "github.com/mmcdole/gofeed"
)
