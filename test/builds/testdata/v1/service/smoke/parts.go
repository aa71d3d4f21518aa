package smoke

// partChecks are the checks of what this build has beside accounts: nothing yet.
func partChecks() []check { return nil }
