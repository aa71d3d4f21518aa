package volume_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/smart-assistant/platform/cli/fault"
	"github.com/smart-assistant/platform/cli/postgres"
	"github.com/smart-assistant/platform/cli/postgres/postgrestest"
	"github.com/smart-assistant/platform/cli/target/kubernetes/volume"
)

var began = time.Date(2026, 11, 23, 3, 7, 12, 0, time.UTC)

// newVolume has a live cluster as the server's image makes it: a folder. Its server has ended in good order.
func newVolume(t *testing.T) (*volume.Volume, *postgrestest.Server) {
	t.Helper()
	root := filepath.Join(postgrestest.Dir(t), "v")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	live := postgrestest.New(t)
	live.DataDir = filepath.Join(root, "live")
	if err := live.Init(t.Context(), postgrestest.Password); err != nil {
		t.Fatal(err)
	}
	v := &volume.Volume{Root: root, Live: live.DataDir, Binaries: live.Binaries, Now: func() time.Time { return began }}
	t.Cleanup(func() {
		if err := v.EndScratches(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return v, live
}

// newFolders is a volume whose live cluster is only a folder that looks like one: where no server is needed.
func newFolders(t *testing.T) *volume.Volume {
	t.Helper()
	root := t.TempDir()
	live := filepath.Join(root, "live")
	err := errors.Join(os.Mkdir(live, 0o700), os.WriteFile(filepath.Join(live, "PG_VERSION"), []byte("15\n"), 0o600),
		os.WriteFile(filepath.Join(live, "data"), make([]byte, 1<<20), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return &volume.Volume{Root: root, Live: live, Now: func() time.Time { return began }}
}

// prepare puts a cluster beside the live one as a restore does: a copy of the live one with a mark in it.
func prepare(t *testing.T, v *volume.Volume, name string) string {
	t.Helper()
	dir, err := v.Prepare(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", v.Live+"/.", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	mark(t, dir, name)
	if err := os.Mkdir(dir+postgres.TablespaceSuffix, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := v.Own(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func mark(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "mark"), []byte(name), 0o600); err != nil {
		t.Fatal(err)
	}
}

// marked is the mark of the data directory at a path of the volume's, "" for none.
func marked(v *volume.Volume, path string) string {
	if _, err := os.Stat(filepath.Join(v.Root, path, "PG_VERSION")); err != nil {
		return "no cluster: " + err.Error()
	}
	content, _ := os.ReadFile(filepath.Join(v.Root, path, "mark"))
	return string(content)
}

func asides(t *testing.T, v *volume.Volume) string {
	t.Helper()
	all, err := v.Asides(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, a := range all {
		if a.Bytes < 1<<20 || !a.Since.Equal(began) {
			t.Errorf("aside %+v", a)
		}
		names = append(names, a.Name+"="+marked(v, "aside-"+a.Name))
	}
	return strings.Join(names, " ")
}

// A volume's life: the first restore replaces a folder, the next ones a link; what was live is kept until it is dropped.
func TestSwapKeepsWhatWasLive(t *testing.T) {
	v := newFolders(t)
	ctx := t.Context()
	mark(t, v.Live, "first")
	one, two := prepare(t, v, "one"), prepare(t, v, "two")
	for i, dir := range []string{one, one, two} { // the second time it is done already
		if err := v.Swap(ctx, dir, []string{"before-one", "before-one", "before-two"}[i], true); err != nil {
			t.Fatal(err)
		}
	}
	if got := marked(v, "live"); got != "two" {
		t.Errorf("live is %q", got)
	}
	if isLive, err := v.IsLive("two"); !isLive || err != nil {
		t.Errorf("two is live: %v, %v", isLive, err)
	}
	if got := asides(t, v); got != "before-one=first before-two=one" {
		t.Errorf("aside are %s", got)
	}
	for _, name := range []string{"one", "two"} {
		if _, err := v.Prepare(ctx, name); err == nil {
			t.Errorf("%s is in use and was emptied", name)
		}
		if err := v.Discard(ctx, name); err != nil {
			t.Error(err)
		}
	}
	if got := marked(v, "live") + " " + asides(t, v); got != "two before-one=first before-two=one" {
		t.Errorf("after discards: %s", got)
	}
	for _, name := range []string{"before-one", "before-two", "before-one"} {
		if err := v.DropAside(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	if got := asides(t, v) + marked(v, "live"); got != "two" {
		t.Errorf("after drops: %s", got)
	}
	entries, err := os.ReadDir(filepath.Join(v.Root, "clusters"))
	if err != nil || len(entries) != 2 { // two and its tablespaces
		t.Errorf("clusters left: %v, %v", entries, err)
	}
}

// A volume on which no swap can be made is found out before anything is unpacked, and nothing is left of the attempt.
func TestPrepareTriesTheExchange(t *testing.T) {
	v := newFolders(t)
	before, err := os.ReadDir(v.Root)
	if err != nil {
		t.Fatal(err)
	}
	v.Exchange = func(string, string) error { return syscall.EINVAL } // as NFS answers
	if _, err := v.Prepare(t.Context(), "one"); fault.CodeOf(err) != fault.Refused || !strings.Contains(err.Error(), "exchange two names") || fault.HintOf(err) == "" {
		t.Errorf("prepared: %v, next: %s", err, fault.HintOf(err))
	}
	if after, err := os.ReadDir(v.Root); err != nil || len(after) != len(before) {
		t.Errorf("left are %v, %v", after, err)
	}
	v.Exchange = nil
	if err := os.MkdirAll(filepath.Join(v.Root, ".exchange", "folder"), 0o700); err != nil { // of one that was killed
		t.Fatal(err)
	}
	if _, err := v.Prepare(t.Context(), "one"); err != nil {
		t.Error(err)
	}
}

func TestWithoutLiveData(t *testing.T) {
	v := newFolders(t)
	dir := prepare(t, v, "one")
	if err := os.RemoveAll(v.Live); err != nil {
		t.Fatal(err)
	}
	if _, exists, err := v.SystemIdentifier(t.Context()); exists || err != nil {
		t.Errorf("an identifier of nothing: %v, %v", exists, err)
	}
	if err := v.Swap(t.Context(), dir, "before-one", true); err != nil {
		t.Fatal(err)
	}
	if got := marked(v, "live") + asides(t, v); got != "one" {
		t.Errorf("live is %q", got)
	}
}

// Whatever a crash left half done, either the old data is live or the new, what is not is not lost, and doing it again completes it.
func TestSwapAfterACrash(t *testing.T) {
	record := `{"since":"2026-11-23T03:07:12Z","replacedBy":"one"}`
	write := func(t *testing.T, v *volume.Volume, name string) {
		if err := os.WriteFile(filepath.Join(v.Root, name), []byte(record), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	announce := func(t *testing.T, v *volume.Volume) {
		write(t, v, "aside-before.json")
		if err := os.Symlink("clusters/one", filepath.Join(v.Root, "aside-before")); err != nil {
			t.Fatal(err)
		}
	}
	for name, crash := range map[string]func(t *testing.T, v *volume.Volume){
		"record not whole": func(t *testing.T, v *volume.Volume) { write(t, v, "aside-before.json.new") },
		"recorded":         func(t *testing.T, v *volume.Volume) { write(t, v, "aside-before.json") },
		"announced":        announce,
	} {
		t.Run(name, func(t *testing.T) {
			v := newFolders(t)
			mark(t, v.Live, "old")
			dir := prepare(t, v, "one")
			crash(t, v)
			if got := marked(v, "live") + asides(t, v); got != "old" {
				t.Errorf("before: %s", got)
			}
			if err := v.Swap(t.Context(), dir, "before", true); err != nil {
				t.Fatal(err)
			}
			if got := marked(v, "live") + " " + asides(t, v); got != "one before=old" {
				t.Errorf("after: %s", got)
			}
		})
		t.Run(name+", given up", func(t *testing.T) {
			v := newFolders(t)
			mark(t, v.Live, "old")
			prepare(t, v, "one")
			crash(t, v)
			if err := v.Discard(t.Context(), "one"); err != nil {
				t.Fatal(err)
			}
			entries, err := filepath.Glob(filepath.Join(v.Root, "*"))
			if got := marked(v, "live"); got != "old" || err != nil {
				t.Errorf("live is %q, %v", got, err)
			}
			for _, e := range entries {
				if strings.HasSuffix(e, "aside-before") || strings.HasSuffix(e, "aside-before.json") {
					t.Errorf("%s is left", e)
				}
			}
		})
	}
}

// A process that swaps is killed at any moment, again and again, while another looks whether there is live data at every moment.
func TestSwapKilled(t *testing.T) {
	if root := os.Getenv("VOLUME_TEST_SWAP"); root != "" {
		v := &volume.Volume{Root: root, Live: filepath.Join(root, "live"), Now: func() time.Time { return began }}
		fmt.Println("swapping")
		for i := 0; ; i++ {
			if err := v.Swap(context.Background(), filepath.Join(root, "clusters", []string{"one", "two"}[i%2]), fmt.Sprintf("aside-%d-%d", os.Getpid(), i), true); err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
		}
	}
	v := newFolders(t)
	mark(t, v.Live, "first")
	dirs := []string{prepare(t, v, "one"), prepare(t, v, "two")}
	ctx, stop := context.WithCancel(t.Context())
	var looker sync.WaitGroup
	looked, missing := 0, error(nil)
	looker.Go(func() {
		for ; ctx.Err() == nil && missing == nil; looked++ {
			_, missing = os.Stat(filepath.Join(v.Live, "PG_VERSION"))
		}
	})
	t.Cleanup(looker.Wait)
	t.Cleanup(stop)
	for i := range 40 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestSwapKilled$")
		cmd.Env = append(os.Environ(), "VOLUME_TEST_SWAP="+v.Root)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		first := make([]byte, len("swapping"))
		if _, err := out.Read(first); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i) * 377 * time.Microsecond)
		_ = cmd.Process.Kill()
		if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() == 1 {
			t.Fatal("the process that swaps ended by itself")
		}
		all := marked(v, "live") + " " + asides(t, v) + " " + marked(v, "clusters/one") + " " + marked(v, "clusters/two")
		for _, name := range []string{"first", "one", "two"} {
			if !strings.Contains(all, name) {
				t.Fatalf("kill %d: %s is lost: %s", i, name, all)
			}
		}
		if err := v.Swap(t.Context(), dirs[i%2], fmt.Sprintf("kill%d", i), true); err != nil {
			t.Fatalf("kill %d: %v", i, err)
		}
		if got := marked(v, "live"); got != []string{"one", "two"}[i%2] {
			t.Fatalf("kill %d: live is %s", i, got)
		}
	}
	stop()
	looker.Wait()
	if missing != nil || looked < 1000 {
		t.Errorf("after %d looks there was no live data: %v", looked, missing)
	}
}

func TestSwapRefuses(t *testing.T) {
	v, live := newVolume(t)
	ctx := t.Context()
	id, exists, err := v.SystemIdentifier(ctx)
	control, controlErr := live.Control(ctx)
	if err != nil || controlErr != nil || !exists || id != control.SystemIdentifier {
		t.Fatalf("system identifier %d, %v, %v, want %d", id, exists, err, control.SystemIdentifier)
	}
	dir := prepare(t, v, "one")
	if err := live.Server.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := v.Swap(ctx, dir, "before", true); err == nil || !strings.Contains(err.Error(), "still runs") {
		t.Errorf("under a running server: %v", err)
	}
	if err := live.Stop(ctx, postgres.Immediate); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(v.Live, "postmaster.pid"), []byte("1\n"), 0o600); err != nil { // of a server in another pod
		t.Fatal(err)
	}
	if err := v.Swap(ctx, dir, "before", false); err == nil || !strings.Contains(err.Error(), "pod") {
		t.Errorf("with a server's lock file, and nobody who saw its pod gone: %v", err)
	}
	for _, aside := range []string{"", "../x", "a/b", ".hidden", "x.json"} {
		if err := v.Swap(ctx, dir, aside, true); err == nil {
			t.Errorf("aside %q was taken", aside)
		}
	}
	for _, dir := range []string{v.Live, v.Root, filepath.Join(v.Root, "clusters"), filepath.Join(v.Root, "clusters", "none")} {
		if err := v.Swap(ctx, dir, "before", true); err == nil {
			t.Errorf("%s became live", dir)
		}
	}
	two := prepare(t, v, "two")
	if err := v.Swap(ctx, dir, "before", true); err != nil {
		t.Fatal(err)
	}
	if err := v.Swap(ctx, two, "before", true); err == nil || fault.HintOf(err) == "" {
		t.Errorf("a name that is taken: %v", err)
	}
	for _, name := range []string{"", "..", "a/b", "one.tablespaces"} {
		if _, err := v.Prepare(ctx, name); err == nil {
			t.Errorf("prepared %q", name)
		}
		if err := v.Discard(ctx, name); err == nil {
			t.Errorf("discarded %q", name)
		}
	}
}
