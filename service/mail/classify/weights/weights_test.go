package weights

import (
	"bytes"
	"testing"
)

func FuzzRead(f *testing.F) {
	var b bytes.Buffer
	table := &Table{Keys: []uint32{1, 1 << 30}, Rows: []Row{{1}, {-2}}, Units: [Groups]float32{1, 1}, Dense: [][Categories]float32{{1}}}
	if err := table.Write(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:20])
	f.Fuzz(func(t *testing.T, file []byte) {
		table, err := Read(file)
		if err != nil {
			return
		}
		for i, key := range table.Keys {
			if got, known := table.Index(key); !known || table.Keys[got] != key {
				t.Fatalf("key %d of the file is at %d, %v", i, got, known)
			}
		}
	})
}
