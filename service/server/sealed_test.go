package server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/encryption"
	"github.com/smart-assistant/platform/service/server"
)

// testSealedBelongs: what is sealed in a cell opens there and in no other: not of another user, row, column or table.
func testSealedBelongs(t *testing.T, w *world) {
	r, site := w.start(t, allowLoopback), feeds(t)
	for _, word := range []string{"quokkada", "evelyn"} {
		w.settle(t, r, site, word)
	}
	db := connect(t, w.url)
	var cells []encryption.Cell
	var values [][]byte
	columns := map[string]bool{}
	for _, column := range server.Sealed() {
		owner := "''"
		if column.Owner != "" {
			owner = column.Owner + "::text"
		}
		rows, err := db.Query(t.Context(), fmt.Sprintf("SELECT %s, %s::text, %s FROM %s", owner, column.Key, column.Name, column.Table))
		if err != nil {
			t.Fatal(err)
		}
		cell := encryption.Cell{Table: column.Table, Column: column.Name}
		var value []byte
		if _, err := pgx.ForEachRow(rows, []any{&cell.Owner, &cell.Row, &value}, func() error {
			if len(value) > 0 {
				columns[cell.Table+"."+cell.Column] = true
				cells, values = append(cells, cell), append(values, append([]byte{}, value...))
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	for i, value := range values {
		for j, cell := range cells {
			if _, err := w.keyring.Open(value, cell); (err == nil) != (i == j) {
				t.Errorf("what is sealed for %+v at %+v: %v", cells[i], cell, err)
			}
		}
	}
	if len(columns) < 9 {
		t.Errorf("only these columns have something: %v", columns)
	}
}

// testMovedDoesNotOpen: whoever moves ciphertexts in the database gets an error from the service, and nobody's text.
func testMovedDoesNotOpen(t *testing.T, w *world) {
	r, site := w.start(t, allowLoopback), feeds(t)
	ada, eve := w.settle(t, r, site, "quokkada"), w.settle(t, r, site, "evelyn")
	r.want(t, 201, "POST", "/api/v1/applications", ada.AccessToken, object{"company": "Example", "notes": "pangolins"})
	r.want(t, 201, "POST", "/api/v1/briefings", ada.AccessToken, nil)
	db := connect(t, w.url)
	for _, c := range []struct{ table, column, from, path string }{
		{"emails", "body", "body", "/api/v1/emails/{emails}"},
		{"emails", "body", "snippet", "/api/v1/emails/{emails}"},
		{"emails", "snippet", "snippet", "/api/v1/emails"},
		{"emails", "snippet", "body", "/api/v1/emails"},
		{"attachments", "name", "name", "/api/v1/emails/{emails}"},
		{"attachments", "content", "content", "/api/v1/emails/{emails}/attachments/{attachments}"},
		{"attachments", "content", "name", "/api/v1/emails/{emails}/attachments/{attachments}"},
		{"applications", "notes", "notes", "/api/v1/applications/{applications}"},
		{"application_events", "note", "note", "/api/v1/applications/{applications}/events"},
		{"briefings", "content", "content", "/api/v1/briefings/{briefings}"},
	} {
		id := ada.ids[c.table]
		var original []byte
		w.one(t, db, &original, fmt.Sprintf("SELECT %s FROM %s WHERE id = $1", c.column, c.table), id)
		path := c.path
		for table, id := range ada.ids {
			path = strings.ReplaceAll(path, "{"+table+"}", id)
		}
		r.want(t, 200, "GET", path, ada.AccessToken, nil)
		for from, where := range map[string]string{
			"another user": "user_id = '" + eve.user + "'", "another row": "user_id = '" + ada.user + "' AND id <> '" + id + "'", "this row": "id = '" + id + "'",
		} {
			var moved []byte
			w.one(t, db, &moved, fmt.Sprintf("SELECT %s FROM %s WHERE %s AND length(%s) > 0 LIMIT 1", c.from, c.table, where, c.from))
			if string(moved) == string(original) {
				continue // it stays where it is
			}
			exec(t, db, fmt.Sprintf("UPDATE %s SET %s = $1 WHERE id = $2", c.table, c.column), moved, id)
			a := r.call(t, "GET", path, ada.AccessToken, nil)
			if a.StatusCode != http.StatusInternalServerError || eve.in(a.text) != "" || ada.in(a.text) != "" || strings.Contains(a.text, "pangolins") {
				t.Errorf("%s of %s from %s of %s: %s %s", c.column, c.table, c.from, from, a.Status, a.text)
			}
		}
		exec(t, db, fmt.Sprintf("UPDATE %s SET %s = $1 WHERE id = $2", c.table, c.column), original, id)
		r.want(t, 200, "GET", path, ada.AccessToken, nil)
	}
}
