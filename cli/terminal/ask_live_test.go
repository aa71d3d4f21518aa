package terminal

import (
	"strings"
	"testing"
)

// The end of the typed line is echoed by the terminal and not by the program: the list that follows must be live all the same.
func TestListIsLiveAfterAQuestion(t *testing.T) {
	io, _, errOut := Test(TestOptions{Terminal: true, Input: "prod\n"})
	if err := io.Confirm(t.Context(), "Type the environment's name: ", "prod", "--yes"); err != nil {
		t.Fatal(err)
	}
	errOut.Reset()
	steps := io.Steps("verify")
	defer steps.Close()
	steps.StepStarted("verify")
	steps.StepProgress("verify", 3, 10, "s")
	if !strings.Contains(errOut.String(), "verify") {
		t.Errorf("nothing is drawn while the step is under way: %q", errOut.String())
	}
}
