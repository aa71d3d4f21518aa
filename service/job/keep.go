package job

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/smart-assistant/platform/service/job/feed"
	"github.com/smart-assistant/platform/service/job/jobdb"
)

// keep stores what a source said, in the transaction that notes the fetch, and returns how many postings are new to the user. What
// the source said before changes nothing; what it says anew of an item that it named before changes the posting where it stands.
func (s *Service) keep(ctx context.Context, tx pgx.Tx, userID, sourceID string, items []feed.Item) (int, error) {
	if len(items) == 0 {
		return 0, nil
	}
	k := keeper{db: s.db.WithTx(tx), userID: userID, sourceID: sourceID, now: s.config.Now()}
	if err := k.db.LockPostings(ctx, userID); err != nil {
		return 0, fmt.Errorf("lock the postings of %s: %w", userID, err)
	}
	if err := k.load(ctx, items); err != nil {
		return 0, err
	}
	for _, item := range k.fresh {
		if err := k.place(item); err != nil {
			return 0, err
		}
	}
	return len(k.added), k.write(ctx)
}

// keeper decides what becomes of a source's items.
type keeper struct {
	db               *jobdb.Queries
	userID, sourceID string
	now              time.Time

	known         map[string]string // postings of items that the source named before
	shared        map[string]int    // how many items of the source stand for a posting, as far as it is decided
	fresh         []freshItem       // items that are new, or say something new
	byFingerprint map[string]string // postings
	byLink        map[string]string
	fingerprints  map[string]string // of postings, the other way round

	changed []jobdb.ChangePostingsParams // written in this order
	added   []jobdb.AddPostingsParams
	items   []jobdb.SaveItemsParams
}

type freshItem struct {
	feed.Item
	identity
}

// load finds out which items say something new, and which postings they may be.
func (k *keeper) load(ctx context.Context, items []feed.Item) error {
	identities := map[string]freshItem{}
	var order []string
	for _, item := range items {
		id := identify(k.sourceID, item)
		if _, twice := identities[id.external]; !twice {
			order = append(order, id.external)
			identities[id.external] = freshItem{item, id}
		}
	}
	rows, err := k.db.KnownItems(ctx, jobdb.KnownItemsParams{SourceID: k.sourceID, ExternalIds: order})
	if err != nil {
		return fmt.Errorf("read the items of job source %s: %w", k.sourceID, err)
	}
	k.known, k.shared = map[string]string{}, map[string]int{}
	said := map[string]string{}
	for _, row := range rows {
		k.known[row.ExternalID], said[row.ExternalID] = row.PostingID, string(row.Digest)
		k.shared[row.PostingID]++
	}
	var fingerprints, links [][]byte
	var unheard []freshItem
	for _, external := range order {
		item := identities[external]
		if said[external] == string(item.digest) {
			continue
		}
		if k.known[external] == "" {
			unheard = append(unheard, item)
		} else {
			k.fresh = append(k.fresh, item)
		}
		fingerprints = append(fingerprints, item.fingerprint)
		if item.link != nil {
			links = append(links, item.link)
		}
	}
	k.fresh = append(k.fresh, unheard...) // last: they may be what a posting was before it changed
	same, err := k.db.SamePostings(ctx, jobdb.SamePostingsParams{UserID: k.userID, Fingerprints: fingerprints, LinkHashes: links})
	if err != nil {
		return fmt.Errorf("read the postings of %s: %w", k.userID, err)
	}
	k.byFingerprint, k.byLink, k.fingerprints = map[string]string{}, map[string]string{}, map[string]string{}
	for _, row := range same {
		k.name(row.ID, row.Fingerprint, row.LinkHash)
	}
	return nil
}

// name notes under which hashes a posting is found from now on.
func (k *keeper) name(id string, fingerprint, link []byte) {
	if former, had := k.fingerprints[id]; had && former != string(fingerprint) {
		delete(k.byFingerprint, former)
	}
	k.fingerprints[id], k.byFingerprint[string(fingerprint)] = string(fingerprint), id
	if link != nil {
		k.byLink[string(link)] = id
	}
}

// place finds the posting of an item, or makes one. An item that stood for a posting alone takes it along when it changes.
func (k *keeper) place(item freshItem) error {
	id, isKnown := k.known[item.external]
	same, exists := k.byFingerprint[string(item.fingerprint)]
	switch {
	case isKnown && k.shared[id] == 1 && (!exists || same == id):
		k.changed = append(k.changed, jobdb.ChangePostingsParams{
			ID: id, UserID: k.userID, Fingerprint: item.fingerprint, LinkHash: item.link,
			Title: item.Title, Company: item.Company, Location: item.Location, Url: item.URL, Summary: item.Summary,
		})
	case exists:
		id = same
	case !isKnown && k.byLink[string(item.link)] != "":
		id = k.byLink[string(item.link)]
		k.save(item, id)
		return nil
	default:
		var err error
		if id, err = newID(); err != nil {
			return err
		}
		published := item.PublishedAt
		if published.IsZero() || published.After(k.now) {
			published = k.now
		}
		k.added = append(k.added, jobdb.AddPostingsParams{
			ID: id, UserID: k.userID, Fingerprint: item.fingerprint, LinkHash: item.link, Title: item.Title, Company: item.Company,
			Location: item.Location, Url: item.URL, Summary: item.Summary, PublishedAt: published, FoundAt: k.now,
		})
	}
	k.name(id, item.fingerprint, item.link)
	k.save(item, id)
	return nil
}

// save notes that an item stands for a posting from now on, and not for its former one.
func (k *keeper) save(item freshItem, posting string) {
	if former, isKnown := k.known[item.external]; isKnown {
		k.shared[former]--
	}
	k.shared[posting]++
	k.items = append(k.items, jobdb.SaveItemsParams{
		SourceID: k.sourceID, ExternalID: item.external, PostingID: posting, Digest: item.digest, SeenAt: k.now,
	})
}

// write sends what was decided, each kind in one round trip. Changes come first: a new posting may have the name that another gave up.
func (k *keeper) write(ctx context.Context) error {
	var failure error
	note := func(_ int, err error) {
		if failure == nil {
			failure = err
		}
	}
	k.db.ChangePostings(ctx, k.changed).Exec(note)
	if failure == nil {
		k.db.AddPostings(ctx, k.added).Exec(note)
	}
	if failure == nil {
		k.db.SaveItems(ctx, k.items).Exec(note)
	}
	if failure != nil {
		return fmt.Errorf("store the postings of job source %s: %w", k.sourceID, failure)
	}
	return nil
}
