// Command pocketbase is PocketBase with what the benchmark of the service measures beside it: `pocketbase seed N` makes a user with N
// mails in a collection whose rules are the service's own (each user sees their own), and the index that such a list needs.
package main

import (
	"fmt"
	"log"
	"strconv"
	"strings"
	"time"

	"github.com/pocketbase/pocketbase"
	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/types"
	"github.com/spf13/cobra"
)

func main() {
	app := pocketbase.New()
	app.RootCmd.AddCommand(&cobra.Command{
		Use: "seed EMAIL PASSWORD N", Args: cobra.ExactArgs(3),
		RunE: func(_ *cobra.Command, args []string) error {
			n, err := strconv.Atoi(args[2])
			if err != nil {
				return err
			}
			return seed(app, args[0], args[1], n)
		},
	})
	if err := app.Start(); err != nil {
		log.Fatal(err)
	}
}

func seed(app core.App, email, password string, n int) error {
	users, err := app.FindCollectionByNameOrId("users")
	if err != nil {
		return err
	}
	user := core.NewRecord(users)
	user.SetEmail(email)
	user.SetPassword(password)
	user.SetVerified(true)
	if err := app.Save(user); err != nil {
		return err
	}
	if err := makeCollection(app, users.Id); err != nil {
		return err
	}
	const batch = 1000
	start := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	return app.RunInTransaction(func(tx core.App) error {
		for i := 0; i < n; i += batch {
			var rows []string
			for j := i; j < min(i+batch, n); j++ {
				rows = append(rows, fmt.Sprintf("('%015d','%s','%s','Sender %d','sender%d@example.org','%s','other',0.5,'Hello, this is the beginning of message %d, and it goes on.')",
					j, user.Id, start.Add(time.Duration(j)*time.Minute).Format("2006-01-02 15:04:05.000Z"), j%500, j%500, subject(j), j))
			}
			_, err := tx.DB().NewQuery("INSERT INTO mails (id, owner, received, from_name, from_address, subject, category, score, snippet) VALUES " + strings.Join(rows, ",")).Execute()
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// subject holds a word that one mail in a thousand has.
func subject(i int) string { return fmt.Sprintf("About topic%d and other matters", i%1000) }

func makeCollection(app core.App, users string) error {
	mails := core.NewBaseCollection("mails")
	own := types.Pointer("owner = @request.auth.id")
	mails.ListRule, mails.ViewRule = own, own
	mails.Fields.Add(
		&core.RelationField{Name: "owner", CollectionId: users, CascadeDelete: true, MaxSelect: 1},
		&core.DateField{Name: "received"}, &core.TextField{Name: "from_name"}, &core.TextField{Name: "from_address"},
		&core.TextField{Name: "subject"}, &core.TextField{Name: "category"}, &core.NumberField{Name: "score"}, &core.TextField{Name: "snippet"},
	)
	mails.AddIndex("mails_owner_received", false, "owner, received DESC", "")
	return app.Save(mails)
}
