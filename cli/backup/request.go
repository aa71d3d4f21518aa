package backup

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"time"

	"filippo.io/age"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/objectstore"
)

// UnpackRequest is all that it takes to fetch, check and open one backup, but for the bucket: for whoever has the room that it goes to. It
// holds the key of the backup's epoch. It is handed over, and never stored nor logged.
type UnpackRequest struct {
	Environment string              `json:"environment"`
	Backup      string              `json:"backup"` // id
	Folder      string              `json:"folder"` // name of the new folder
	Bytes       int64               `json:"bytes"`  // of all files, as the backup's commit says
	Epoch       int                 `json:"epoch"`
	Identity    string              `json:"identity"` // age's, of the epoch
	Writers     []ed25519.PublicKey `json:"writers"`  // that are trusted to have signed the backup
}

// String leaves out the key.
func (q UnpackRequest) String() string { return fmt.Sprintf("unpack %s into %s", q.Backup, q.Folder) }

// GoString leaves out the key.
func (q UnpackRequest) GoString() string { return q.String() }

func (r *Repository) unpackRequest(ctx context.Context, p RestorePlan) (UnpackRequest, error) {
	b, identity, err := r.open(ctx, p.Backup.ID)
	if err != nil {
		return UnpackRequest{}, err
	}
	_, writers, err := r.Opener.Open(ctx, b.Epoch)
	if err != nil {
		return UnpackRequest{}, err
	}
	key, ok := identity.(*age.X25519Identity)
	if !ok {
		return UnpackRequest{}, fmt.Errorf("hand over the key of epoch %d: it is a %T", b.Epoch, identity)
	}
	return UnpackRequest{
		Environment: r.Environment, Backup: b.ID, Folder: p.Folder, Bytes: b.RawBytes, Epoch: b.Epoch, Identity: key.String(), Writers: writers,
	}, nil
}

// Room is where a backup can be unpacked to: a file system with the live data on it.
type Room interface {
	// Prepare returns a new, empty folder of that name beside the live data. One that is there already is emptied.
	Prepare(ctx context.Context, name string) (dir string, err error)
	// Own gives a folder and all in it to the server's user. It is called for the data directory and for its TablespaceFolder.
	Own(ctx context.Context, dir string) error
}

// Into unpacks the backup into a new folder of the room, checks it as Verify does, and makes it durable. Nothing is left of one that failed.
func (q UnpackRequest) Into(ctx context.Context, store objectstore.Store, room Room, now func() time.Time, progress func(bytes int64)) (dir string, found Unpacked, err error) {
	identity, err := age.ParseX25519Identity(q.Identity)
	if err != nil {
		return "", Unpacked{}, fault.Code(fmt.Errorf("key of epoch %d: %w", q.Epoch, err), fault.Damaged)
	}
	r := &Repository{Store: store, Environment: q.Environment, Now: now, Opener: handedOver{q.Epoch, identity, q.Writers}}
	b, err := r.Show(ctx, q.Backup)
	if err != nil {
		return "", Unpacked{}, err
	}
	if dir, err = room.Prepare(ctx, q.Folder); err != nil {
		return "", Unpacked{}, err
	}
	if found, err = r.Unpack(ctx, q.Backup, dir, progress); err != nil {
		return "", Unpacked{}, errors.Join(err, os.RemoveAll(dir), os.RemoveAll(TablespaceFolder(dir)))
	}
	if len(b.Archives) > 1 {
		if err := room.Own(ctx, TablespaceFolder(dir)); err != nil {
			return "", Unpacked{}, err
		}
	}
	return dir, found, room.Own(ctx, dir)
}

// handedOver is the Opener of somebody who was given the key of one epoch.
type handedOver struct {
	epoch    int
	identity age.Identity
	writers  []ed25519.PublicKey
}

func (h handedOver) Open(_ context.Context, epoch int) (age.Identity, []ed25519.PublicKey, error) {
	if epoch != h.epoch {
		return nil, nil, fault.Code(fmt.Errorf("the key is that of epoch %d, not %d", h.epoch, epoch), fault.Damaged)
	}
	return h.identity, h.writers, nil
}
