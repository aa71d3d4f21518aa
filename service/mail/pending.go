package mail

// What this part is about to use; the file goes when it does.
import (
	_ "github.com/emersion/go-imap/v2/imapclient"
	_ "github.com/emersion/go-message/charset"
	_ "github.com/emersion/go-message/mail"
	_ "github.com/emersion/go-sasl"
	_ "github.com/google/uuid"
	_ "github.com/kljensen/snowball"
	_ "golang.org/x/net/html"
	_ "golang.org/x/oauth2"
)
