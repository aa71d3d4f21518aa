package imap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// Mailbox is a mailbox that can be opened.
type Mailbox struct {
	Name    string
	Default bool // read where the user names none
}

// Mailboxes lists those that can be opened. The default ones are INBOX and the archive: what has the special use \Archive (RFC 6154), else
// \All, else the name Archive or Archives. Trash, junk, drafts and sent mail are not.
func (s *Session) Mailboxes() ([]Mailbox, error) {
	options := &imap.ListOptions{ReturnSpecialUse: true}
	if caps := s.client.Caps(); !caps.Has(imap.CapSpecialUse) || !caps.Has(imap.CapListExtended) {
		options = nil
	}
	s.conn.allow(small)
	listed, err := s.client.List("", "*", options).Collect()
	if err != nil {
		return nil, fmt.Errorf("list mailboxes: %w", err)
	}
	var open []Mailbox
	for _, box := range listed {
		if !slices.Contains(box.Attrs, imap.MailboxAttrNoSelect) && !slices.Contains(box.Attrs, imap.MailboxAttrNonExistent) {
			open = append(open, Mailbox{Name: box.Mailbox})
		}
	}
	uses := func(attribute imap.MailboxAttr) func(string) bool {
		return func(name string) bool {
			return slices.ContainsFunc(listed, func(b *imap.ListData) bool { return b.Mailbox == name && slices.Contains(b.Attrs, attribute) })
		}
	}
	named := func(name string) bool {
		return strings.EqualFold(name, "Archive") || strings.EqualFold(name, "Archives")
	}
	markFirst(open, func(name string) bool { return strings.EqualFold(name, "INBOX") })
	markFirst(open, uses(imap.MailboxAttrArchive), uses(imap.MailboxAttrAll), named)
	return open, nil
}

// markFirst makes those mailboxes default ones that fit the first test which any fits.
func markFirst(boxes []Mailbox, tests ...func(name string) bool) {
	for _, fits := range tests {
		found := false
		for i := range boxes {
			if fits(boxes[i].Name) {
				boxes[i].Default, found = true, true
			}
		}
		if found {
			return
		}
	}
}

// Open opens a mailbox for reading. Its UIDs mean the same messages as long as validity stays the same (RFC 3501, section 2.3.1.1).
// ErrNoMailbox when there is none.
func (s *Session) Open(mailbox string) (validity uint32, err error) {
	s.conn.allow(small)
	data, err := s.client.Select(mailbox, &imap.SelectOptions{ReadOnly: true}).Wait()
	var answer *imap.Error
	if errors.As(err, &answer) && answer.Type == imap.StatusResponseTypeNo && (answer.Code == imap.ResponseCodeNonExistent || answer.Code == "") {
		return 0, fmt.Errorf("open the mailbox %q: %w: %w", mailbox, ErrNoMailbox, err)
	}
	if err != nil {
		return 0, fmt.Errorf("open the mailbox %q: %w", mailbox, err)
	}
	return data.UIDValidity, nil
}

// After returns the UIDs in the open mailbox that are above one, in ascending order.
func (s *Session) After(uid uint32) ([]uint32, error) {
	if uid == 1<<32-1 {
		return nil, nil
	}
	above := imap.UIDSet{{Start: imap.UID(uid) + 1}} // to *, which is the last message whatever its UID: so it is checked below
	s.conn.allow(search)
	data, err := s.client.UIDSearch(&imap.SearchCriteria{UID: []imap.UIDSet{above}}, nil).Wait()
	if err != nil {
		return nil, fmt.Errorf("search new messages: %w", err)
	}
	found, _ := data.All.(imap.UIDSet)
	var total uint64
	for _, r := range found {
		if total += uint64(r.Stop) - uint64(r.Start) + 1; r.Stop < r.Start || total > search {
			return nil, fmt.Errorf("search new messages: %w", ErrTooMuch) // few bytes can name 4 billion messages
		}
	}
	all, _ := found.Nums()
	var uids []uint32
	for _, n := range all {
		if uint32(n) > uid {
			uids = append(uids, uint32(n))
		}
	}
	slices.Sort(uids)
	return uids, nil
}

// Message is a message as it is on the server. Raw is nil when it is larger than the limit, and when it is Unsent: the server answers,
// has it, and does not send it.
type Message struct {
	UID    uint32
	Size   int64
	Raw    []byte
	Unsent bool
}

// MessageError is a conversation that broke off when it was about one message alone.
type MessageError struct {
	UID uint32
	Err error
}

func (e *MessageError) Error() string { return e.Err.Error() }
func (e *MessageError) Unwrap() error { return e.Err }

// Limits are how much a batch may hold. A batch has one message at least.
type Limits struct {
	Messages int   // most of one batch
	Bytes    int64 // of one batch
	Message  int64 // bytes of one message; larger ones are not fetched
}

// Fetch reads messages of the open mailbox in batches, in the order of their UIDs, and hands each batch to store. last is the batch's
// highest UID: all messages up to it were handed over or are gone from the server. A *MessageError when it breaks off at a batch of one.
func (s *Session) Fetch(ctx context.Context, uids []uint32, limits Limits, store func(ctx context.Context, messages []Message, last uint32) error) error {
	for chunk := range slices.Chunk(uids, 4*limits.Messages) {
		sizes, err := s.sizes(chunk)
		if err != nil {
			return err
		}
		for len(chunk) > 0 {
			n := batch(chunk, sizes, limits)
			messages, err := s.deliver(chunk[:n], sizes, limits.Message)
			if err != nil {
				return err
			}
			if err := errors.Join(context.Cause(ctx), store(ctx, messages, chunk[n-1])); err != nil {
				return err
			}
			chunk = chunk[n:]
		}
	}
	return nil
}

// batch counts the messages that the next batch may have.
func batch(uids []uint32, sizes map[uint32]int64, limits Limits) int {
	var total int64
	for n, uid := range uids {
		if size := sizes[uid]; size <= limits.Message {
			total += size
		}
		if n > 0 && (total > limits.Bytes || n == limits.Messages) {
			return n
		}
	}
	return len(uids)
}

// sizes asks how large messages are. Those that are gone have none.
func (s *Session) sizes(uids []uint32) (map[uint32]int64, error) {
	s.conn.allow(small)
	found, err := s.client.Fetch(set(uids), &imap.FetchOptions{UID: true, RFC822Size: true}).Collect()
	if err != nil {
		return nil, fmt.Errorf("ask for sizes: %w", err)
	}
	sizes := make(map[uint32]int64, len(found))
	for _, message := range found {
		sizes[uint32(message.UID)] = message.RFC822Size
	}
	return sizes, nil
}

// deliver reads a batch, and where the server refuses that, one message after the other, to see which it is about.
func (s *Session) deliver(uids []uint32, sizes map[uint32]int64, limit int64) ([]Message, error) {
	messages, err := s.messages(uids, sizes, limit)
	switch {
	case err == nil:
		return messages, nil
	case len(uids) == 1 && refused(err):
		return []Message{{UID: uids[0], Size: sizes[uids[0]], Unsent: true}}, nil
	case len(uids) == 1:
		return nil, &MessageError{uids[0], err}
	case !refused(err):
		return nil, err
	}
	for _, uid := range uids {
		one, err := s.deliver([]uint32{uid}, sizes, limit)
		if err != nil {
			return nil, err
		}
		messages = append(messages, one...)
	}
	return messages, nil
}

// refused is an answer that is about the messages: neither about this hour nor the end of the conversation.
func refused(err error) bool {
	var answer *imap.Error
	return errors.Is(err, errUnsent) || errors.As(err, &answer) && answer.Type != imap.StatusResponseTypeBye && !passing(answer)
}

var errUnsent = errors.New("the server has messages that it does not send")

// messages reads those that have a size.
func (s *Session) messages(uids []uint32, sizes map[uint32]int64, limit int64) ([]Message, error) {
	var wanted []uint32
	var messages []Message
	allowed := int64(small)
	for _, uid := range uids {
		size, there := sizes[uid]
		switch {
		case !there:
		case size > limit:
			messages = append(messages, Message{UID: uid, Size: size})
		default:
			wanted = append(wanted, uid)
			allowed += size + size/8
		}
	}
	if len(wanted) == 0 {
		return messages, nil
	}
	s.conn.allow(allowed)
	fetched, err := s.bodies(wanted, limit)
	if err != nil {
		return nil, err
	}
	if err := s.gone(wanted, fetched); err != nil {
		return nil, err
	}
	messages = append(messages, fetched...)
	slices.SortFunc(messages, func(a, b Message) int { return int(int64(a.UID) - int64(b.UID)) })
	return messages, nil
}

// bodies reads whole messages without marking them as seen.
func (s *Session) bodies(uids []uint32, limit int64) ([]Message, error) {
	command := s.client.Fetch(set(uids), &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}}})
	var messages []Message
	for data := command.Next(); data != nil; data = command.Next() {
		message, err := body(data, limit)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("fetch messages: %w", err), command.Close())
		}
		if message.Raw != nil || message.Size > limit {
			messages = append(messages, message)
		}
	}
	if err := command.Close(); err != nil {
		return nil, fmt.Errorf("fetch messages: %w", err)
	}
	return messages, nil
}

// gone makes sure that the messages which did not come are not there any more, so that none is passed over.
func (s *Session) gone(wanted []uint32, fetched []Message) error {
	missing := slices.DeleteFunc(slices.Clone(wanted), func(uid uint32) bool {
		return slices.ContainsFunc(fetched, func(m Message) bool { return m.UID == uid })
	})
	if len(missing) == 0 {
		return nil
	}
	there, err := s.sizes(missing)
	if err != nil {
		return err
	}
	if len(there) > 0 {
		return fmt.Errorf("fetch messages: %w: %d of %d", errUnsent, len(there), len(wanted))
	}
	return nil
}

// set is the UIDs as IMAP writes them.
func set(uids []uint32) imap.UIDSet {
	var s imap.UIDSet
	for _, uid := range uids {
		s.AddNum(imap.UID(uid))
	}
	return s
}

// body reads one FETCH response.
func body(data *imapclient.FetchMessageData, limit int64) (Message, error) {
	var message Message
	for item := data.Next(); item != nil; item = data.Next() {
		switch item := item.(type) {
		case imapclient.FetchItemDataUID:
			message.UID = uint32(item.UID)
		case imapclient.FetchItemDataBodySection:
			if item.Literal == nil {
				continue
			}
			message.Size = item.Literal.Size()
			if message.Size > limit {
				continue // its size was said to be less
			}
			raw, err := io.ReadAll(item.Literal)
			if err != nil {
				return message, err
			}
			message.Raw = raw
		}
	}
	return message, nil
}
