package job

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/smart-assistant/platform/service/job/feed"
)

// identity is what tells one job from another, whichever source it comes from. The same title, company and place are one job; so are
// the same link and title, since a source may not say the company.
type identity struct {
	external    string // the source's own name of it
	fingerprint []byte
	link        []byte // nil without a link
	digest      []byte // of all that the source says
}

// maxExternal is how many bytes of an item's name the table takes. Of a longer one the hash is its name: a link of a feed, whose
// characters are escaped for comparing, may be three times as long as it came.
const maxExternal = 2000

func identify(sourceID string, item feed.Item) identity {
	title, company, place := plainTitle(item.Title), companyName(item.Company), words(item.Location)
	link := feed.Canonical(item.URL)
	id := identity{external: item.ID, digest: hash(item.ID, item.Title, item.Company, item.Location, item.URL, item.Summary)}
	if link != "" {
		id.link = hash("link", link, title)
	}
	if id.external == "" {
		id.external = link
	}
	if id.external == "" {
		id.external = hex.EncodeToString(hash(title, company, place))
	}
	if len(id.external) > maxExternal {
		id.external = hex.EncodeToString(hash(id.external))
	}
	switch {
	case company != "":
		id.fingerprint = hash("job", title, company, place)
	case id.link != nil:
		id.fingerprint = id.link
	default:
		id.fingerprint = hash("item", sourceID, id.external)
	}
	return id
}

// hash is SHA-256 of texts, each with an end that no text has.
func hash(texts ...string) []byte {
	sum := sha256.New()
	for _, text := range texts {
		sum.Write([]byte(text))
		sum.Write([]byte{0})
	}
	return sum.Sum(nil)
}

var (
	// (m/w/d), (f/m/x), m|w|d, (all genders), (gn) …: who may apply, which is everybody.
	genders = regexp.MustCompile(`\(\s*(?:all genders?|alle geschlechter|gn|any gender|d|x)\s*\)|(?:^|[\s(\[])[mfwhdx](?:\s*[/|,*]\s*(?:[mfwhdxi]|div|nb|gn))+[\s)\]*]*(?:$|\s|[)\]])`)
	// Entwickler*in, Entwickler:in, Entwickler/-in, Entwickler_innen …; and EntwicklerIn.
	endings = regexp.MustCompile(`[*:_/]-?in(?:nen)?\b`)
	capital = regexp.MustCompile(`(\p{Ll})In(?:nen)?\b`)
)

// plainTitle is a title without case, punctuation and marks of gender. Seniority stays: a senior's job is another.
func plainTitle(title string) string {
	title = capital.ReplaceAllString(norm.NFKC.String(title), "$1")
	title = genders.ReplaceAllString(strings.ToLower(title), " ")
	return words(endings.ReplaceAllString(title, ""))
}

// legalForms are words of a company's name that sources write or leave out as they like.
var legalForms = map[string]bool{
	"ab": true, "ag": true, "bv": true, "co": true, "company": true, "corp": true, "corporation": true, "eg": true, "ev": true,
	"gmbh": true, "inc": true, "incorporated": true, "kg": true, "kgaa": true, "limited": true, "llc": true, "llp": true, "ltd": true,
	"mbh": true, "nv": true, "oy": true, "plc": true, "pte": true, "pty": true, "sa": true, "sarl": true, "sas": true, "se": true,
	"spa": true, "srl": true, "ug": true,
}

// companyName is a company's name without case, punctuation and legal form, unless nothing else is left of it.
func companyName(name string) string {
	all := strings.Fields(words(strings.ReplaceAll(name, ".", "")))
	kept := all
	for len(kept) > 1 && legalForms[kept[len(kept)-1]] {
		kept = kept[:len(kept)-1]
	}
	return strings.Join(kept, " ")
}

// words is a text's letters and digits in lower case, with one space where anything else stood. C++ and C# stay what they are.
func words(text string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(norm.NFKC.String(text)), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) && r != '+' && r != '#'
	}), " ")
}
