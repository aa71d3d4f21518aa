package signin_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/smart-assistant/platform/test/database"
)

// FuzzCallback: whatever comes back from a provider that was never asked is refused as the caller's mistake, and creates nothing.
func FuzzCallback(f *testing.F) {
	p := newProvider(f)
	w := newWorld(f, database.Start(f), p.configure)
	state := strings.Repeat("A", 43)
	for _, query := range []string{
		"", "state=x&code=y", "state=" + state + "&code=y", "state=" + state + "&error=access_denied", "state=a&state=b", "state=%00&code=%00",
		"state=%ff&code=%fe", "iss=%zz", "state=" + state + ";code=y", "code=" + strings.Repeat("x", 5000), "state[]=" + state, "&&&=&",
	} {
		f.Add(query)
	}
	f.Fuzz(func(t *testing.T, query string) {
		for _, path := range []string{"idp", "gmail"} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/api/v1/oauth/"+path+"/callback", nil)
			if err != nil {
				t.Fatal(err)
			}
			request.URL.RawQuery = query
			request.Header.Set("Cookie", "oauth_browser="+state)
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				return // a query that no request line can have
			}
			response.Body.Close()
			if response.StatusCode != http.StatusBadRequest && response.StatusCode != http.StatusUnprocessableEntity {
				t.Errorf("%s: %s", path, response.Status)
			}
		}
		if c := w.count(t); c != (count{}) {
			t.Errorf("%+v", c)
		}
	})
}
