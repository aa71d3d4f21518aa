package main

import (
	"os"

	"github.com/smart-assistant/platform/service/account"
	"github.com/smart-assistant/platform/service/telemetry"
)

// mailer is what sends mail, nil where neither a server nor a folder is set.
func (e *environment) mailer() account.Mailer {
	server, folder := e.text("ASSISTD_SMTP_URL", e.file("ASSISTD_SMTP_URL_FILE")), os.Getenv("ASSISTD_MAIL_DIR")
	if server == "" && folder == "" {
		return nil
	}
	from := os.Getenv("ASSISTD_MAIL_FROM")
	if from == "" || os.Getenv("ASSISTD_PUBLIC_URL") == "" {
		e.problem("set ASSISTD_MAIL_FROM and ASSISTD_PUBLIC_URL as well: mails have a sender, and links to this service")
		return nil
	}
	var mailer account.Mailer
	var err error
	if server != "" {
		if mailer, err = account.NewSMTPMailer(server, from, telemetry.SystemClock); err != nil {
			e.problem("ASSISTD_SMTP_URL, ASSISTD_MAIL_FROM: %w", err)
		}
		return mailer
	}
	if mailer, err = account.NewFolderMailer(folder, from, telemetry.SystemClock); err != nil {
		e.problem("ASSISTD_MAIL_DIR, ASSISTD_MAIL_FROM: %w", err)
	}
	return mailer
}
