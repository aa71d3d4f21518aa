package account

// NewSMTPMailerWith is NewSMTPMailer with a test's own certificates and network.
var NewSMTPMailerWith = newSMTPMailer
