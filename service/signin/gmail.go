package signin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/mail"
	"slices"
	"strings"

	"golang.org/x/oauth2"
)

const (
	gmail         = "gmail" // in routes and flows, where a provider's name stands
	gmailReadonly = "https://www.googleapis.com/auth/gmail.readonly"
)

// consent is the client that asks for leave to read mail, and for nothing else.
func (s *Service) consent() *oauth2.Config {
	config := *s.config.Gmail
	config.RedirectURL, config.Scopes = s.callbackURL(gmail), []string{gmailReadonly}
	return &config
}

// consentURL is where the browser goes to give consent. It is asked for each time, because Google gives a lasting token only then:
// https://developers.google.com/identity/protocols/oauth2/web-server#offline
func (s *Service) consentURL(state string, secrets secrets) string {
	return s.consent().AuthCodeURL(state, oauth2.AccessTypeOffline, oauth2.SetAuthURLParam("prompt", "consent"), oauth2.S256ChallengeOption(secrets.Verifier))
}

// Mailbox is a mailbox that was connected.
type Mailbox struct {
	ID      string `json:"id" format:"uuid" doc:"Id of the connection"`
	Account string `json:"account" doc:"The mailbox's address"`
}

// connect takes up a consent: it exchanges the code, checks what was granted and hands it to package mail.
func (s *Service) connect(ctx context.Context, code string, f flow) (Mailbox, error) {
	token, err := exchange(ctx, s.http, s.consent(), code, f.secrets.Verifier)
	if err != nil {
		return Mailbox{}, err
	}
	// Users may untick a scope. An answer without scopes has granted what was asked for: RFC 6749, section 5.1.
	if granted, said := token.Extra("scope").(string); said && !slices.Contains(strings.Fields(granted), gmailReadonly) {
		return Mailbox{}, refuse(http.StatusForbidden, "scope_missing", "Google was not allowed to let this service read your mail: begin again and leave the box ticked")
	}
	if token.RefreshToken == "" {
		return Mailbox{}, refuse(http.StatusForbidden, "not_lasting",
			"Google gave access for an hour only: remove this service from your Google account's connections and begin again")
	}
	address, err := s.gmailAddress(ctx, token)
	if err != nil {
		return Mailbox{}, err
	}
	id, err := s.config.Mail.ConnectGmail(ctx, f.userID, address, token)
	if err != nil {
		return Mailbox{}, fmt.Errorf("connect Gmail: %w", err)
	}
	return Mailbox{ID: id, Account: address}, nil
}

// gmailAddress asks whose mailbox a token reads: the answer of users.getProfile, https://developers.google.com/workspace/gmail/api/reference/rest/v1/users/getProfile
func (s *Service) gmailAddress(ctx context.Context, token *oauth2.Token) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.config.GmailURL+"/gmail/v1/users/me/profile", nil)
	if err != nil {
		return "", fmt.Errorf("ask for the mailbox's address: %w", err)
	}
	token.SetAuthHeader(request)
	response, err := s.http.Do(request)
	if err != nil {
		return "", &unreachableError{fmt.Errorf("ask for the mailbox's address: %w", err)}
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", &unreachableError{fmt.Errorf("ask for the mailbox's address: Gmail answers %s", response.Status)}
	}
	var profile struct {
		Address string `json:"emailAddress"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, 64<<10)).Decode(&profile); err != nil {
		return "", &unreachableError{fmt.Errorf("read the mailbox's address: %w", err)}
	}
	if parsed, err := mail.ParseAddress(profile.Address); err != nil || parsed.Address != profile.Address {
		return "", &unreachableError{errors.New("read the mailbox's address: Gmail says none")}
	}
	return profile.Address, nil
}
