package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/smart-assistant/platform/cli/backup/replication"
	"github.com/smart-assistant/platform/cli/fault"
)

// Progress is told how an operation goes on; the unit "B" means bytes.
type Progress interface {
	StepStarted(name string)
	StepProgress(name string, done, total int64, unit string)
	StepDone(name, detail string)
	StepFailed(name string, err error)
}

// TakeOptions say what a backup is for. They become part of its commit.
type TakeOptions struct {
	Kind       Kind
	Label      string
	Key        string // when a backup with this key exists, Take returns it instead of taking another
	Run        int64
	KeepUntil  time.Time
	Release    string
	SchemaHead int64

	Compression Compression
	Workers     int // the server's threads for compression; 0 is 2
	PartSize    int // bytes; 0 is 16 MiB
}

// Compression says who compresses.
type Compression string

const (
	Automatic  Compression = ""       // the server where it can, else the client
	ServerSide Compression = "server" // or fail
	ClientSide Compression = "client"
)

// Take streams a base backup of the server at url (a role with REPLICATION) into the bucket, with the log that makes it consistent.
// Nothing is written to a local disk. The backup exists once Take returns without error; whatever goes wrong before, at any point,
// leaves only objects that nothing lists and that are swept later. It reports one step, "backup".
func (r *Repository) Take(ctx context.Context, url string, o TakeOptions, progress Progress) (Backup, error) {
	if r.Sealer == nil {
		return Backup{}, errors.New("take backup: no key to write with")
	}
	if taken, err := r.taken(ctx, o.Key); err != nil || taken.ID != "" {
		return taken, err
	}
	progress.StepStarted(StepTake)
	started := r.Now()
	b, err := r.take(ctx, url, o, progress)
	if err != nil {
		err = fmt.Errorf("take backup of %s: %w", r.Environment, err)
		progress.StepFailed(StepTake, err)
		return Backup{}, err
	}
	progress.StepDone(StepTake, b.Summary(r.Now().Sub(started)))
	return b, nil
}

// StepTake is the one step of taking a backup, as a Progress hears of it.
const StepTake = "backup"

// Summary says what a backup is that took so long.
func (b Backup) Summary(took time.Duration) string {
	return b.ID + "  " + transfer(b.RawBytes, b.StoredBytes, took)
}

func (r *Repository) take(ctx context.Context, url string, o TakeOptions, progress Progress) (Backup, error) {
	conn, err := replication.Connect(ctx, url)
	if ctx.Err() != nil {
		return Backup{}, context.Cause(ctx)
	}
	if err != nil {
		return Backup{}, fault.Code(err, fault.Unreachable)
	}
	defer conn.Close(ctx)
	system, err := conn.IdentifySystem(ctx)
	if err != nil {
		return Backup{}, err
	}
	c := Commit{
		Format: format, Environment: r.Environment, Kind: o.Kind, Label: o.Label, Key: o.Key, Run: o.Run, KeepUntil: o.KeepUntil,
		Release: o.Release, SchemaHead: o.SchemaHead, Started: r.Now().UTC(),
		PostgreSQL: conn.ServerVersion(), SystemIdentifier: system.Identifier, Epoch: r.Sealer.Epoch,
	}
	if c.ID, err = r.newID(ctx, c.Kind, c.Started); err != nil {
		return Backup{}, err
	}

	if o.PartSize == 0 {
		o.PartSize = partSize
	}
	upload := newUploader(ctx, r.Store, Prefix(c.ID), o.PartSize)
	defer upload.close()
	server, err := startBackup(upload.ctx, conn, c.ID, o, func(done, total int64) {
		c.RawBytes = done
		progress.StepProgress("backup", done, total, "B")
	})
	if err != nil {
		return Backup{}, err
	}
	c.Timeline, c.StartLSN = server.Start.Timeline, server.Start.LSN

	parts, manifest, err := r.stream(server, upload)
	if err != nil {
		return Backup{}, warned(err, conn)
	}
	c.StopLSN, c.Consistent = server.Stop().LSN, r.Now().UTC()
	if c.Manifest, err = putOnce(ctx, r.Store, Prefix(c.ID)+manifestObject, manifest); err != nil {
		return Backup{}, err
	}
	c.Manifest.Name = manifestObject
	if err := upload.wait(); err != nil {
		return Backup{}, err
	}
	c.Archives = archives(server.Tablespaces, parts)
	return r.commit(ctx, c)
}

// onServer are the server's compressions, best first: with threads, and without for servers whose zstd has none.
var onServer = []string{"zstd:level=1,workers=WORKERS", "zstd:level=1"}

// startBackup starts the base backup with the best compression that the server has.
func startBackup(ctx context.Context, conn *replication.Conn, id string, o TakeOptions, progress func(done, total int64)) (*replication.BaseBackup, error) {
	workers := o.Workers
	if workers == 0 {
		workers = 2
	}
	var ways []string
	if o.Compression != ClientSide {
		for _, way := range onServer {
			ways = append(ways, strings.ReplaceAll(way, "WORKERS", strconv.Itoa(workers)))
		}
	}
	if o.Compression != ServerSide {
		ways = append(ways, "")
	}
	for i, way := range ways {
		// The slot keeps the log from being recycled until the backup has it. An error takes temporary slots away.
		if err := conn.CreateTemporarySlot(ctx, "assistctl_"+strings.ReplaceAll(id, "-", "_")); err != nil {
			return nil, err
		}
		var total int64
		server, err := conn.BaseBackup(ctx, replication.Options{Label: id, Compression: way, Progress: func(done int64) {
			progress(done, max(done, total))
		}})
		if errors.Is(err, replication.ErrCompression) && i+1 < len(ways) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, t := range server.Tablespaces {
			total += t.Size
		}
		return server, nil
	}
	return nil, errors.New("no way to compress")
}

// stream reads the backup to its end: archives go to the store in parts, the manifest is returned, encrypted.
func (r *Repository) stream(server *replication.BaseBackup, upload *uploader) ([]*partWriter, []byte, error) {
	var parts []*partWriter
	var manifest bytes.Buffer
	for {
		s, err := server.Next()
		if err == io.EOF { //nolint:errorlint // a wrapped one is a broken connection
			if manifest.Len() == 0 || len(parts) != len(server.Tablespaces) {
				return nil, nil, fmt.Errorf("server sent %d archives of %d, and a manifest of %d bytes", len(parts), len(server.Tablespaces), manifest.Len())
			}
			return parts, manifest.Bytes(), nil
		}
		if err != nil {
			return nil, nil, err
		}
		if s.Manifest {
			err = r.encrypt(&manifest, func(w io.Writer) error { _, err := server.WriteTo(w); return err })
		} else {
			name, compressed := strings.CutSuffix(s.Name, ".zst")
			w := &partWriter{uploader: upload, name: name + ".zst.age"}
			parts = append(parts, w)
			err = r.archive(w, server, compressed)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s%s: %w", upload.prefix, s.Name, err)
		}
	}
}

// archive takes one archive through compression, if the server has not done that, and encryption into parts.
func (r *Repository) archive(w *partWriter, server *replication.BaseBackup, compressed bool) error {
	err := r.encrypt(w, func(w io.Writer) error {
		if compressed {
			_, err := server.WriteTo(w)
			return err
		}
		z, err := newCompressor(w)
		if err != nil {
			return err
		}
		_, err = server.WriteTo(z)
		if ended := z.Close(); err == nil {
			err = ended
		}
		return err
	})
	if err != nil {
		return err
	}
	return w.Close()
}

func (r *Repository) encrypt(to io.Writer, write func(io.Writer) error) error {
	w, err := age.Encrypt(to, r.Sealer.Recipient)
	if err != nil {
		return err
	}
	if err := write(w); err != nil {
		return err
	}
	return w.Close()
}

// archives describes what has been stored, once it is.
func archives(tablespaces []replication.Tablespace, parts []*partWriter) []Archive {
	all := make([]Archive, len(parts))
	for i, w := range parts {
		all[i] = Archive{Tablespace: tablespaces[i].OID, Location: tablespaces[i].Location}
		for _, o := range w.objects {
			all[i].Objects = append(all[i].Objects, *o)
		}
	}
	return all
}

// commit makes the backup exist.
func (r *Repository) commit(ctx context.Context, c Commit) (Backup, error) {
	c.Finished = r.Now().UTC()
	for _, o := range c.Objects() {
		c.StoredBytes += o.Size
	}
	if c.StopLSN <= c.StartLSN {
		return Backup{}, fmt.Errorf("commit %s: log from %s to %s", c.ID, c.StartLSN, c.StopLSN)
	}
	if err := c.sound(); err != nil {
		return Backup{}, fmt.Errorf("commit %s: %w", c.ID, err)
	}
	object, err := c.sealed(r.Sealer.Signer)
	if err != nil {
		return Backup{}, err
	}
	if _, err := putOnce(ctx, r.Store, CommitKey(c.ID), object); err != nil {
		return Backup{}, err
	}
	return Backup{ID: c.ID, Commit: c}, nil
}

// taken finds the backup that was taken for the key.
func (r *Repository) taken(ctx context.Context, key string) (Backup, error) {
	if key == "" {
		return Backup{}, nil
	}
	all, err := r.List(ctx)
	if err != nil {
		return Backup{}, err
	}
	for _, b := range all {
		if b.Key == key && b.Problem == nil {
			return b, nil
		}
	}
	return Backup{}, nil
}

// newID makes an id that sorts by time within a kind and under which nothing is stored yet: p-20261124-091214.
func (r *Repository) newID(ctx context.Context, kind Kind, now time.Time) (string, error) {
	stem := fmt.Sprintf("%c-%s", (kind + "m")[0], now.UTC().Format("20060102-150405"))
	for n := 1; ; n++ {
		id := stem
		if n > 1 {
			id = fmt.Sprintf("%s-%d", stem, n)
		}
		used := false
		for _, err := range r.Store.List(ctx, Prefix(id)) {
			if err != nil {
				return "", fmt.Errorf("list %s: %w", Prefix(id), err)
			}
			used = true
			break
		}
		if !used {
			return id, nil
		}
	}
}

// warned adds the server's warnings, which name the files whose checksums are wrong.
func warned(err error, conn *replication.Conn) error {
	if len(conn.Warnings()) == 0 {
		return err
	}
	return fmt.Errorf("%w (the server warned: %s)", err, strings.Join(conn.Warnings(), "; "))
}

// transfer says "1.9 GB → 352 MB  131 MB/s".
func transfer(raw, stored int64, took time.Duration) string {
	return fmt.Sprintf("%s → %s  %s/s", size(raw), size(stored), size(int64(float64(raw)/max(took.Seconds(), 0.001))))
}

func size(bytes int64) string {
	value, unit := float64(bytes), 0
	for value >= 999.5 && unit < 4 {
		value, unit = value/1000, unit+1
	}
	if value < 9.95 && unit > 0 {
		return fmt.Sprintf("%.1f %s", value, [...]string{"B", "kB", "MB", "GB", "TB"}[unit])
	}
	return fmt.Sprintf("%.0f %s", value, [...]string{"B", "kB", "MB", "GB", "TB"}[unit])
}

func copyBuffer(w io.Writer, r io.Reader) (int64, error) {
	return io.CopyBuffer(w, struct{ io.Reader }{r}, make([]byte, 64<<10))
}
