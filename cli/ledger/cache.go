package ledger

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
)

// The cache spares reading the entries one by one for each command. It is verified like what the store sends, and an entry in it counts
// only while the store lists the entry with the same ETag, so a cache that is stale, cut off or gone costs time and nothing else.
// For that reason its errors are not reported.

// cached is a line of the cache's file.
type cached struct {
	ETag string `json:"etag"`
	Raw  string `json:"raw"` // the entry's exact bytes
}

// loadCache reads the file once. Of several lines for an entry the last counts.
func (l *Ledger) loadCache() {
	l.loadOnce.Do(func() {
		if l.opts.Cache == "" {
			return
		}
		f, err := os.Open(l.opts.Cache)
		if err != nil {
			return
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 8*maxEntry) // quoting an entry's bytes makes them longer
		for lines.Scan() {
			var c cached
			var e Entry
			if json.Unmarshal(lines.Bytes(), &c) != nil || json.Unmarshal([]byte(c.Raw), &e) != nil {
				continue
			}
			if k := newLink(keyOf(e.Seq), []byte(c.Raw), c.ETag); k.err == nil {
				l.remember(k)
			}
		}
	})
}

// dropCache forgets everything read before.
func (l *Ledger) dropCache() {
	l.cacheLock.Lock()
	defer l.cacheLock.Unlock()
	clear(l.cache)
	if l.opts.Cache != "" {
		_ = os.Remove(l.opts.Cache)
	}
}

// saveCache appends what was read from the store just now, in one write, so that processes side by side do not mix their lines.
func (l *Ledger) saveCache(fresh []cached) {
	if l.opts.Cache == "" || len(fresh) == 0 {
		return
	}
	var lines bytes.Buffer
	encoder := json.NewEncoder(&lines)
	for _, c := range fresh {
		if encoder.Encode(c) != nil {
			return
		}
	}
	if os.MkdirAll(filepath.Dir(l.opts.Cache), 0o700) != nil {
		return
	}
	f, err := os.OpenFile(l.opts.Cache, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return
	}
	_, _ = f.Write(lines.Bytes())
	_ = f.Close()
}
