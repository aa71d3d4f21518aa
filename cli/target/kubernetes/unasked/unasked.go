// Package unasked keeps a library of Pulumi's from asking the terminal for its colours while this program starts: the question goes out in that
// library's init function, before main, swallows what was typed ahead, and waits on a terminal that does not answer. A dumb terminal is not asked.
//
// It works by the order in which Go initializes packages (the language's specification, "Program initialization": sorted by import path, each as
// soon as its imports are): this one imports os alone and so comes before any that imports os/exec, as that library does. It owns nothing else.
package unasked

import "os"

const term = "TERM"

var was, had = os.LookupEnv(term)

func init() { _ = os.Setenv(term, "dumb") }

// Restore gives the program its terminal back. A package that imports Pulumi calls it from its own init.
func Restore() {
	if had {
		_ = os.Setenv(term, was)
	} else {
		_ = os.Unsetenv(term)
	}
}
