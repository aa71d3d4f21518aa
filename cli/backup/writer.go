package backup

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"filippo.io/age"

	"github.com/smart-assistant/platform/cli/fault"
)

// writerFile is what a machine or a pod that takes backups keeps: enough to write and to sign, nothing that reads. The recipient stands
// here and is not taken from the bucket, where somebody could have put another.
type writerFile struct {
	Environment string `json:"environment"`
	Epoch       int    `json:"epoch"`
	Recipient   string `json:"recipient"`
	Seed        []byte `json:"seed"` // of the Ed25519 signing key (RFC 8032)
}

// WriterStore is where a writer's file is kept: on this machine, or in the secret of a cluster.
type WriterStore interface {
	// Read fails with fs.ErrNotExist when there is none.
	Read(ctx context.Context) ([]byte, error)
	// Replace writes it whole. Only who may read backups' keys calls it.
	Replace(ctx context.Context, content []byte) error
	// String names the place in errors.
	String() string
}

// WriterFile is a file of this user's own, by its path.
type WriterFile string

// Read implements WriterStore. It refuses a file that others can open.
func (f WriterFile) Read(context.Context) ([]byte, error) { return readPrivate(string(f)) }

// Replace implements WriterStore.
func (f WriterFile) Replace(_ context.Context, content []byte) error {
	return replacePrivate(string(f), content)
}

func (f WriterFile) String() string { return string(f) }

// EnsureWriter makes the file with which LoadWriter gets a Sealer, or brings it up to the newest epoch, and sees to it that the epoch
// trusts the writer. The signing key in a file that exists stays.
func EnsureWriter(ctx context.Context, file WriterStore, keys *Keys, random io.Reader) (*Sealer, error) {
	w, err := readWriter(ctx, file, keys.Environment)
	if errors.Is(err, fs.ErrNotExist) {
		w = writerFile{Environment: keys.Environment, Seed: make([]byte, ed25519.SeedSize)}
		_, err = io.ReadFull(random, w.Seed)
	}
	if err != nil {
		return nil, fmt.Errorf("backup writer of %s: %w", keys.Environment, err)
	}
	signer := ed25519.NewKeyFromSeed(w.Seed)
	epoch, err := keys.EnsureEpoch(ctx, publicHalf(signer))
	if err != nil {
		return nil, err
	}
	if w.Epoch != epoch.Epoch || w.Recipient != epoch.Recipient {
		w.Epoch, w.Recipient = epoch.Epoch, epoch.Recipient
		content, err := json.MarshalIndent(w, "", "  ")
		if err != nil {
			return nil, err
		}
		if err := file.Replace(ctx, append(content, '\n')); err != nil {
			return nil, fmt.Errorf("backup writer of %s: %w", keys.Environment, err)
		}
	}
	return w.sealer(file)
}

// LoadWriter reads what EnsureWriter left for an environment. It needs no operator and no bucket.
func LoadWriter(ctx context.Context, file WriterStore, environment string) (*Sealer, error) {
	w, err := readWriter(ctx, file, environment)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Hint(fmt.Errorf("backup writer of %s: %w", environment, err), "assistctl backup create "+environment)
	}
	if err != nil {
		return nil, fmt.Errorf("backup writer of %s: %w", environment, err)
	}
	return w.sealer(file)
}

func readWriter(ctx context.Context, file WriterStore, environment string) (writerFile, error) {
	content, err := file.Read(ctx)
	if err != nil {
		return writerFile{}, err
	}
	var w writerFile
	if err := json.Unmarshal(content, &w); err != nil {
		return writerFile{}, fmt.Errorf("%s: %w", file, err)
	}
	if w.Environment != environment {
		return writerFile{}, fmt.Errorf("%s belongs to environment %q", file, w.Environment)
	}
	if len(w.Seed) != ed25519.SeedSize {
		return writerFile{}, fmt.Errorf("%s: its signing key has %d bytes, not %d", file, len(w.Seed), ed25519.SeedSize)
	}
	return w, nil
}

func (w writerFile) sealer(file WriterStore) (*Sealer, error) {
	recipient, err := age.ParseX25519Recipient(w.Recipient)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &Sealer{Epoch: w.Epoch, Recipient: recipient, Signer: ed25519.NewKeyFromSeed(w.Seed)}, nil
}
