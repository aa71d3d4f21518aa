package command

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/smart-assistant/platform/cli/fault"
)

// newCmdDocs writes the reference from the commands themselves, for packages and for the website.
func newCmdDocs(app *App) *cobra.Command {
	cmd := &cobra.Command{Use: "docs", Short: "Write the reference pages", Hidden: true}
	page := func(format, short string, write func(root *cobra.Command, dir string) error) *cobra.Command {
		return &cobra.Command{
			Use: format + " <folder>", Short: short,
			Args: exactArgs(1, "docs takes the folder to write to, as in: assistctl docs "+format+" docs/reference"),
			RunE: func(cmd *cobra.Command, args []string) error {
				dir := args[0]
				if err := os.MkdirAll(dir, 0o755); err != nil {
					return fault.Code(fmt.Errorf("write the reference: %w", err), fault.Usage)
				}
				root := cmd.Root()
				root.DisableAutoGenTag = true // no date: the same commands give the same pages
				if err := write(root, dir); err != nil {
					return fmt.Errorf("write the reference: %w", err)
				}
				return app.say(map[string]string{"folder": dir}, "Written to "+dir)
			},
		}
	}
	cmd.AddCommand(
		page("man", "Write man pages", func(root *cobra.Command, dir string) error {
			date := app.Now().UTC()
			header := &doc.GenManHeader{Section: "1", Date: &date, Source: "assistctl " + app.Build.withDefaults().Version, Manual: "assistctl"}
			return doc.GenManTree(root, header, dir)
		}),
		page("markdown", "Write Markdown pages", func(root *cobra.Command, dir string) error {
			return doc.GenMarkdownTreeCustom(root, dir, func(string) string { return "" }, func(name string) string {
				return strings.ToLower(name)
			})
		}),
	)
	return cmd
}
