// Package auditverify is the command that checks audit logs, for the programs that offer it.
package auditverify

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/bartizan-dev/bartizan/internal/authproxy/audit"
)

// Command is "verify FILE..." of a program; program is how that is called, for the examples.
func Command(out io.Writer, program string) *cobra.Command {
	var heads []string
	cmd := &cobra.Command{
		Use:   "verify FILE...",
		Short: "Check that audit logs are whole, and name the first broken line",
		Long: `Check that audit logs are what gates wrote: that no line was changed, removed, inserted or moved.

The files are read as one log, in their order; - stands for standard input. The lines of several gates may be mixed. Whether
lines were cut off at the end, only the last line known elsewhere tells: by the next boot of the gate, whose first line
names it, or by --head, as the status port of the gate reports it.`,
		Example: "  kubectl logs deployment/pods --container gate | " + program + " audit verify -\n" +
			"  " + program + " audit verify gate.log.1 gate.log --head 0f1e2d3c4b5a6978:1042:HASH",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			expected, err := parseHeads(heads)
			if err != nil {
				return err
			}
			var all []io.Reader
			for _, file := range files {
				if file == "-" {
					all = append(all, cmd.InOrStdin())
					continue
				}
				f, err := os.Open(file)
				if err != nil {
					return err
				}
				defer func() { _ = f.Close() }()
				all = append(all, f)
			}
			verified, err := audit.Verify(io.MultiReader(all...), expected...)
			if err != nil {
				return fmt.Errorf("the audit log is broken: %w", err)
			}
			return tell(out, verified)
		},
	}
	cmd.Flags().StringArrayVar(&heads, "head", nil, "a line that must be there, known elsewhere, as BOOT:PLACE:HASH; may be repeated")
	return cmd
}

func tell(out io.Writer, v audit.Verified) error {
	_, err := fmt.Fprintf(out, "whole: %d lines of %d boots; %d more requests are counted in them, %d lines could not be written\n",
		v.Lines, len(v.Heads), v.Repeated, v.Lost)
	if v.Messages > 0 {
		_, e := fmt.Fprintf(out, "passed over: %d messages of the gate, which are no part of the log\n", v.Messages)
		err = errors.Join(err, e)
	}
	for _, head := range v.Heads {
		_, e := fmt.Fprintf(out, "last of boot %q: %d %s\n", head.Boot, head.Seq, head.Hash)
		err = errors.Join(err, e)
	}
	for _, head := range v.Absent {
		_, e := fmt.Fprintf(out, "not in this log: boot %q, of which line %d is known\n", head.Boot, head.Seq)
		err = errors.Join(err, e)
	}
	return err
}

func parseHeads(texts []string) (heads []audit.Head, err error) {
	for _, text := range texts {
		parts := strings.Split(text, ":")
		if len(parts) != 3 || len(parts[2]) < 12 || len(parts[2]) > 64 {
			return nil, fmt.Errorf("--head: %q is not BOOT:PLACE:HASH", text)
		}
		seq, err := strconv.ParseUint(parts[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("--head: %q is not BOOT:PLACE:HASH", text)
		}
		heads = append(heads, audit.Head{Boot: parts[0], Seq: seq, Hash: parts[2]})
	}
	return heads, nil
}
