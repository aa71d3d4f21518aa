package message_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/smart-assistant/platform/service/mail/message"
)

// read returns what is in an archive; "!" stands for a message that was skipped.
func read(r io.Reader, limit int64) (all []string, err error) {
	archive, err := message.Open(r, message.Limits{Message: limit, Large: limit})
	if err != nil {
		return nil, err
	}
	for {
		raw, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF):
			return all, nil
		case errors.Is(err, message.ErrTooLarge):
			all = append(all, "!")
		case err != nil:
			return all, err
		default:
			all = append(all, string(raw))
		}
	}
}

const (
	one = "From a@x Mon Mar  2 10:00:00 2026\n"
	two = "From 1790@xxx Mon Mar 02 10:00:00 +0000 2026\r\n"
)

// TestMbox: the dialects of mbox, with either line break.
func TestMbox(t *testing.T) {
	long := strings.Repeat("x", 200_000)
	for name, test := range map[string]struct {
		file string
		want []string
	}{
		"two":                         {one + "A: 1\n\nx\n\n" + two + "A: 2\r\n\r\ny\r\n\r\n", []string{"A: 1\n\nx\n", "A: 2\r\n\r\ny\r\n"}},
		"no blank line at the end":    {one + "A: 1\n\nx", []string{"A: 1\n\nx"}},
		"quoted":                      {one + "A: 1\n\n>From me\n>>From you\n> From\n", []string{"A: 1\n\nFrom me\n>From you\n> From"}},
		"From inside a paragraph":     {one + "A: 1\n\nx\nFrom a@x Mon Mar  2 10:00:00 2026\ny\n", []string{"A: 1\n\nx\nFrom a@x Mon Mar  2 10:00:00 2026\ny"}},
		"From that begins a sentence": {one + "A: 1\n\nFrom now on in 2026\n", []string{"A: 1\n\nFrom now on in 2026"}},
		"Content-Length is a lie":     {one + "Content-Length: 9999\n\nx\n\n" + one + "A: 2\n\ny\n", []string{"Content-Length: 9999\n\nx\n", "A: 2\n\ny"}},
		"Thunderbird":                 {"From - Mon Mar  2 10:00:00 2026\nA: 1\n\nx\n\nFrom -\nA: 2\n\n", []string{"A: 1\n\nx\n", "A: 2\n"}},
		"byte order mark":             {"\xef\xbb\xbf" + one + "A: 1\n\nx\n", []string{"A: 1\n\nx"}},
		"blank lines before":          {"\n\n" + one + "A: 1\n\nx\n", []string{"A: 1\n\nx"}},
		"a long line":                 {one + "A: 1\n\n" + long + "\n\n" + one + "A: 2\n\n", []string{"A: 1\n\n" + long + "\n", "A: 2\n"}},
		"one message":                 {"A: 1\n\nFrom me\n", []string{"A: 1\n\nFrom me\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(test.file), iotest.OneByteReader(strings.NewReader(test.file)), bytes.NewReader(packed(t, []byte(test.file)))} {
				if got, err := read(r, 1<<20); err != nil || !slices.Equal(got, test.want) {
					t.Errorf("got %q %v, want %q", got, err, test.want)
				}
			}
		})
	}
}

// TestTooLarge: a message beyond the limit is skipped, and the next is read.
func TestTooLarge(t *testing.T) {
	long := strings.Repeat("x\n", 1000)
	for name, file := range map[string][]byte{
		"mbox": []byte(one + "A: 1\n\n" + long + "\n" + one + "A: 2\n"),
		"tar":  tarOf(t, "m/cur/1", "A: 1\n\n"+long, "m/new/2", "A: 2"),
	} {
		if got, err := read(bytes.NewReader(file), 100); err != nil || !slices.Equal(got, []string{"!", "A: 2"}) {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
}

// TestLarge: a message that turns out to be large is asked about once, before the rest of it is read, and no other.
func TestLarge(t *testing.T) {
	long := strings.Repeat("x\n", 300_000)
	for name, test := range map[string]struct {
		file []byte
		want int
	}{
		"mbox":   {[]byte(one + "A: 1\n\n" + long + "\n" + one + "A: 2\n\n" + one + "A: 3\n\n" + long), 2},
		"tar":    {tarOf(t, "m/cur/1", "A: 1\n\n"+long, "m/new/2", "A: 2", "m/cur/3", "A: 3\n\n"+long), 2},
		"single": {[]byte("A: 1\n\n" + long), 1},
		"small":  {[]byte("A: 1\n\n"), 0},
	} {
		file, asked := bytes.NewReader(test.file), 0
		archive, err := message.Open(file, message.Limits{Message: 1 << 20, Large: 1000, Grow: func() error {
			asked++
			if asked == 1 && file.Len() < 400_000 {
				t.Errorf("%s: %d bytes are left when it asks", name, file.Len())
			}
			return nil
		}})
		for err == nil {
			var raw []byte
			if raw, err = archive.Next(); len(raw) > 1000 && len(raw) < 600_000 {
				t.Errorf("%s: %d bytes", name, len(raw))
			}
		}
		if !errors.Is(err, io.EOF) || asked != test.want {
			t.Errorf("%s: asked %d times, %v", name, asked, err)
		}
	}
}

// TestMaildir: messages are in cur and new, wherever those are.
func TestMaildir(t *testing.T) {
	file := tarOf(t, "Mail/", "", "Mail/cur/1:2,S", "A: 1", "Mail/tmp/2", "A: 2", "./Mail/.Jobs/new/3", "A: 3", "Mail/dovecot-uidlist", "x", "cur/4", "A: 4")
	want := []string{"A: 1", "A: 3", "A: 4"}
	for _, file := range [][]byte{file, packed(t, file)} {
		if got, err := read(bytes.NewReader(file), 1<<20); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q %v", got, err)
		}
	}
}

// TestBroken: what is no archive is said to be none, one that ends early gives what it has, and the reader's own error stays what it is.
func TestBroken(t *testing.T) {
	file := tarOf(t, "cur/1", "A: 1", "cur/2", strings.Repeat("x", 2000))
	for name, test := range map[string]struct {
		file []byte
		want error
		n    int
	}{
		"empty":    {nil, message.ErrFormat, 0},
		"a PDF":    {[]byte("%PDF-1.7\nxxx"), message.ErrFormat, 0},
		"half tar": {file[:2500], message.ErrBroken, 1},
		"half gz":  {packed(t, []byte(one+"A: 1\n"))[:30], message.ErrBroken, 0},
	} {
		if got, err := read(bytes.NewReader(test.file), 1<<20); !errors.Is(err, test.want) || len(got) != test.n {
			t.Errorf("%s: %d messages, %v", name, len(got), err)
		}
	}
	gone := errors.New("the client left")
	if _, err := read(io.MultiReader(strings.NewReader(one+"A: 1\n\n"), iotest.ErrReader(gone)), 100); !errors.Is(err, gone) || errors.Is(err, message.ErrBroken) {
		t.Errorf("the reader's error: %v", err)
	}
}

// TestAnyDamage: whichever byte of a file is wrong, the file is to blame and not its reader.
func TestAnyDamage(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	text := make([]byte, 3000)
	for i := range text {
		text[i] = "abcdefghijklmnopqrstuvwxyz \n"[random.IntN(28)]
	}
	for name, file := range map[string][]byte{
		"mbox": packed(t, append([]byte(one+"A: 1\n\n"), text...)), "tar": packed(t, tarOf(t, "cur/1", "A: 1\n\n"+string(text))),
		"bare": tarOf(t, "cur/1", "A: 1\n\nx", "new/2", "A: 2"),
	} {
		for at := range file {
			damaged := bytes.Clone(file)
			damaged[at] ^= byte(1 + random.IntN(255))
			if _, err := read(bytes.NewReader(damaged), 1<<20); err != nil && !errors.Is(err, message.ErrBroken) && !errors.Is(err, message.ErrFormat) {
				t.Fatalf("%s with another byte %d: %v", name, at, err)
			}
		}
	}
}

func tarOf(t testing.TB, files ...string) []byte {
	t.Helper()
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	for i := 0; i < len(files); i += 2 {
		header := &tar.Header{Name: files[i], Mode: 0o600, Size: int64(len(files[i+1])), Typeflag: tar.TypeReg}
		if strings.HasSuffix(files[i], "/") {
			header.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

func packed(t testing.TB, data []byte) []byte {
	t.Helper()
	var buffer bytes.Buffer
	w := gzip.NewWriter(&buffer)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

// FuzzMbox: whatever follows a separator, reading ends, and the pieces are no longer than the whole.
func FuzzMbox(f *testing.F) {
	for _, seed := range []string{"A: 1\n\nx\n\n" + one + "A: 2\n", ">From \n", "\r\n\r\n" + two, "\n\nFrom \n\nx\n\nFrom -\n", "x"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		all, err := read(io.MultiReader(strings.NewReader(one), bytes.NewReader(body)), 1<<16)
		if err != nil || len(strings.Join(all, "")) > len(body)+len(all) {
			t.Fatalf("%d messages, %v", len(all), err)
		}
	})
}

// FuzzMaildirTar: whatever the bytes are, reading ends.
func FuzzMaildirTar(f *testing.F) {
	file := tarOf(f, "cur/1", "A: 1", "new/2", "B: 2")
	f.Add(file)
	f.Add(packed(f, file))
	f.Add(file[:600])
	f.Add([]byte("\x1f\x8b\x08"))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, _ := read(bytes.NewReader(data), 1<<16)
		for _, raw := range all {
			if len(raw) > 1<<16 {
				t.Fatalf("a message of %d bytes", len(raw))
			}
		}
	})
}
