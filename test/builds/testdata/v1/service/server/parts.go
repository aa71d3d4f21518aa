package server

// parts are the pieces of the service beside accounts: none yet.
func parts(*replica) []part { return nil }
