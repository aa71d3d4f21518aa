package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os/exec"
	"path/filepath"
	"time"
)

// pocketBase is the peer, with the same user and messages (tools/pocketbase).
type pocketBase struct {
	*process
	token string
}

const (
	peerName    = "PocketBase"
	peerProgram = "bin/pocketbase" // tools/build.sh pocketbase makes it
)

// seedPocketBase fills it, while the service's database is filled.
func seedPocketBase(ctx context.Context, dir string, o options) error {
	if o.oursOnly {
		return nil
	}
	began := time.Now()
	seed := exec.CommandContext(ctx, peerProgram, "seed", email, password, fmt.Sprint(o.mails), "--dir", filepath.Join(dir, "pocketbase"))
	if out, err := seed.CombinedOutput(); err != nil {
		return fmt.Errorf("fill PocketBase: %w: %.500s", err, out)
	}
	log.Printf("PocketBase filled after %s", time.Since(began).Round(time.Second))
	return nil
}

func startPocketBase(ctx context.Context, dir string) (*pocketBase, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	served, err := start(ctx, address, filepath.Join(dir, "pocketbase.log"), nil, peerProgram, "serve", "--http", address, "--dir", filepath.Join(dir, "pocketbase"))
	if err != nil {
		return nil, err
	}
	p := &pocketBase{process: served}
	var logged struct{ Token string }
	if err := ask(ctx, address, p.loginRequest(), &logged); err != nil {
		p.stop()
		return nil, fmt.Errorf("log in to PocketBase: %w", err)
	}
	if p.token = logged.Token; p.token == "" {
		p.stop()
		return nil, errors.New("PocketBase gave no token")
	}
	return p, nil
}

func (p *pocketBase) loginRequest() []byte {
	return request("POST", "/api/collections/users/auth-with-password", "", map[string]string{"identity": email, "password": password})
}

func (p *pocketBase) contenders() []contender {
	always := func(text []byte) func(context.Context) ([]byte, error) {
		return func(context.Context) ([]byte, error) { return text, nil }
	}
	of := func(what, sample string, times int, text []byte) contender {
		return contender{what, peerName, p.process, repeated(p.address, holds(sample, times), always(text))}
	}
	records := fmt.Sprintf("/api/collections/mails/records?perPage=%d&sort=-received&skipTotal=true", pageSize)
	return []contender{
		of("login", `"token"`, 1, p.loginRequest()),
		of("refresh", `"token"`, 1, request("POST", "/api/collections/users/auth-refresh", p.token, nil)),
		of("list", `"subject"`, pageSize, request("GET", records, p.token, nil)),
		of("search", `"subject"`, pageSize, request("GET", records+"&filter=subject~%27"+topic+"%27", p.token, nil)),
	}
}
