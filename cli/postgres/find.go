package postgres

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/smart-assistant/platform/cli/fault"
)

// OldestMajor is the oldest PostgreSQL whose backup manifest, BASE_BACKUP options and recovery settings are relied on.
const OldestMajor = 15

// BinEnv names the folder of the programs where no configuration does.
const BinEnv = "ASSISTCTL_POSTGRES_BIN"

const installHint = "install the PostgreSQL server, version 15 or later: `apt-get install postgresql` on Debian and Ubuntu, " +
	"or set " + BinEnv + " to the folder of its programs"

// Binaries are the server programs of one PostgreSQL installation.
type Binaries struct {
	Dir   string // folder of postgres, initdb and pg_controldata, free of symbolic links
	Major int    // 15 for 15.18
}

// Path returns the path of one of the installation's programs.
func (b Binaries) Path(program string) string { return filepath.Join(b.Dir, program) }

// Find returns the server programs in explicitDir, or, when that is empty, in $ASSISTCTL_POSTGRES_BIN, else those found on PATH, else
// the newest under the folders where distributions put them. Installations older than OldestMajor are refused. The error carries a hint that
// says what to install.
func Find(explicitDir string) (Binaries, error) {
	if explicitDir == "" {
		explicitDir = os.Getenv(BinEnv)
	}
	if explicitDir != "" {
		for _, dir := range []string{explicitDir, filepath.Join(explicitDir, "bin")} {
			if _, err := os.Stat(filepath.Join(dir, "postgres")); err == nil {
				b, err := inspect(dir)
				return b, fault.Hint(err, installHint)
			}
		}
		return Binaries{}, fault.Hint(fmt.Errorf("find PostgreSQL: no program named postgres in %s", explicitDir), installHint)
	}

	var refused []error
	for _, dir := range candidates() {
		b, err := inspect(dir)
		if err == nil {
			return b, nil
		}
		refused = append(refused, err)
	}
	if len(refused) > 0 {
		return Binaries{}, fault.Hint(errors.Join(refused...), installHint)
	}
	return Binaries{}, fault.Hint(errors.New("find PostgreSQL: no server programs on PATH nor in the usual folders"), installHint)
}

// candidates are the folders that hold a postgres program, best first.
func candidates() []string {
	var dirs []string
	if path, err := exec.LookPath("postgres"); err == nil {
		// The link on PATH may be the only program there; its neighbours are where it points to.
		if real, err := filepath.EvalSymlinks(path); err == nil {
			dirs = append(dirs, filepath.Dir(real))
		}
	}
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin"} {
		found, _ := filepath.Glob(pattern + "/postgres") // the pattern is well-formed, which is all that can fail
		slices.SortStableFunc(found, func(a, b string) int { return majorInPath(b) - majorInPath(a) })
		for _, path := range found {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	return dirs
}

var digits = regexp.MustCompile(`\d+`)

func majorInPath(path string) int {
	n, _ := strconv.Atoi(digits.FindString(path)) // no number sorts last
	return n
}

var versionLine = regexp.MustCompile(`^postgres \(PostgreSQL\) (\d+)`)

// inspect says which version lives in dir, and that what is needed is all there.
func inspect(dir string) (Binaries, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Binaries{}, fmt.Errorf("find PostgreSQL: %w", err)
	}
	b := Binaries{Dir: dir}
	for _, program := range []string{"postgres", "initdb", "pg_controldata"} {
		if _, err := exec.LookPath(b.Path(program)); err != nil {
			return Binaries{}, fmt.Errorf("find PostgreSQL: %w", err)
		}
	}
	out, err := exec.Command(b.Path("postgres"), "--version").CombinedOutput()
	if err != nil {
		return Binaries{}, fmt.Errorf("run %s --version: %w: %s", b.Path("postgres"), err, strings.TrimSpace(string(out)))
	}
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return Binaries{}, fmt.Errorf("%s --version answered %q", b.Path("postgres"), strings.TrimSpace(string(out)))
	}
	if b.Major, err = strconv.Atoi(string(m[1])); err != nil {
		return Binaries{}, fmt.Errorf("%s --version: %w", b.Path("postgres"), err)
	}
	if b.Major < OldestMajor {
		return Binaries{}, fmt.Errorf("%s is PostgreSQL %d, and %d or later is needed", b.Path("postgres"), b.Major, OldestMajor)
	}
	return b, nil
}
