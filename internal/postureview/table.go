package postureview

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Table writes one line for each server; wide adds a line for each control that does not hold, and how to mend it.
func Table(out io.Writer, servers []Server, wide bool) error {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "NAMESPACE\tNAME\tSCORE\tCOVERAGE\tVERIFIED\tFAIL\tWARN\tUNKNOWN\tFAILING")
	for _, s := range servers {
		if s.Kind != "" {
			fmt.Fprintf(table, "%s\t%s (%s)\t-\t-\t-\t%d\t%d\t-\t%s\n", s.Namespace, s.Name, s.Kind, s.Count(Fail), s.Count(Warn), dash(ids(s.Failing(), wide)))
			continue
		}
		if len(s.Controls) == 0 {
			fmt.Fprintf(table, "%s\t%s\t-\t-\t%s\t-\t-\t-\tnot evaluated yet\n", s.Namespace, s.Name, s.Verified)
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%d%%\t%s\t%d\t%d\t%d\t%s\n", s.Namespace, s.Name, s.Score, s.Coverage, dash(s.Verified),
			s.Count(Fail), s.Count(Warn), s.Count(Unknown), dash(ids(s.Failing(), wide)))
	}
	if err := table.Flush(); err != nil || !wide {
		return err
	}
	for _, s := range servers {
		if err := details(out, s); err != nil {
			return err
		}
	}
	return nil
}

// details are the controls of a server that do not hold.
func details(out io.Writer, s Server) error {
	failing := s.Failing()
	if len(failing) == 0 {
		return nil
	}
	fmt.Fprintf(out, "\n%s/%s\n", s.Namespace, s.Name)
	for _, c := range failing {
		fmt.Fprintf(out, "  %-4s %s (%s) %s\n", strings.ToUpper(string(c.Result)), c.ID, c.Severity, c.Title)
		if c.Reason != "" {
			fmt.Fprintf(out, "       because: %s\n", c.Reason)
		}
		if _, err := fmt.Fprintf(out, "       mend it: %s\n", c.Remediation); err != nil {
			return err
		}
	}
	return nil
}

// ids names controls; a narrow table has the first few.
func ids(controls []Control, all bool) string {
	const most = 4
	var names []string
	for i, c := range controls {
		if !all && i == most && len(controls) > most+1 {
			names = append(names, fmt.Sprintf("and %d more", len(controls)-most))
			break
		}
		names = append(names, c.ID)
	}
	return strings.Join(names, " ")
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// JSON writes all that is known, as {"servers": [...]}.
func JSON(out io.Writer, servers []Server) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	if servers == nil {
		servers = []Server{}
	}
	return encoder.Encode(struct {
		Servers []Server `json:"servers"`
	}{servers})
}
