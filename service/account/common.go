package account

import (
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/trustelem/zxcvbn/frequency"
)

// common holds, in lower case, what people choose: passwords from leaks, names and words, each long enough to be a password here.
var common = sync.OnceValue(func() map[string]struct{} {
	set := map[string]struct{}{}
	for _, list := range frequency.FrequencyLists {
		for _, word := range list {
			if utf8.RuneCountInString(word) >= minPassword {
				set[strings.ToLower(word)] = struct{}{}
			}
		}
	}
	return set
})

// ours are the product's own names, which somebody guesses first.
var ours = []string{"assistd", "assistant", "smartassistant", "smart assistant", "smart-assistant"}

// checkPassword refuses a new password that is of the wrong length or that would be guessed early (NIST SP 800-63B, 5.1.1.2): a common
// one, a word, or little more than the user's own address or the product's name. The field names it in the answer.
func checkPassword(field, password, email string) error {
	if err := checkLength(field, password); err != nil {
		return err
	}
	if utf8.RuneCountInString(password) < minPassword {
		return &InvalidError{field, "is shorter than 8 characters"}
	}
	lower := strings.ToLower(password)
	if _, found := common()[lower]; found {
		return &InvalidError{field, "is among the most common ones: choose another, such as four words that do not belong together"}
	}
	address := strings.ToLower(email)
	local, _, _ := strings.Cut(address, "@")
	for _, name := range append([]string{address, local}, ours...) {
		if isLittleMoreThan(lower, name) {
			return &InvalidError{field, "is little more than your e-mail address or this product's name: choose another"}
		}
	}
	return nil
}

// isLittleMoreThan says whether a password is a name with nothing but digits and punctuation around it.
func isLittleMoreThan(password, name string) bool {
	if name == "" || !strings.Contains(password, name) {
		return false
	}
	rest := strings.Replace(password, name, "", 1)
	return strings.IndexFunc(rest, func(r rune) bool { return r > '~' || r >= 'a' && r <= 'z' }) < 0
}
