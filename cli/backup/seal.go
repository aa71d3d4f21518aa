package backup

import (
	"context"
	"crypto/ed25519"

	"filippo.io/age"
)

// Sealer is all that a writer of backups holds: it can write backups and cannot read them.
type Sealer struct {
	Epoch     int                // the key epoch that Recipient belongs to, written into each commit
	Recipient age.Recipient      // encrypts parts and manifests
	Signer    ed25519.PrivateKey // signs commits
}

// Opener is what a reader of backups holds.
type Opener interface {
	// Open returns the identity that decrypts the backups of an epoch, and the keys of the writers that are trusted to have
	// signed them. It fails with fault.Damaged and a hint when the reader's own key does not open the epoch.
	Open(ctx context.Context, epoch int) (age.Identity, []ed25519.PublicKey, error)
}
