// Vaultmesh-verify says what a proof file proves: for each ledger what is proven, by when, and under which trust.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	verifier "vaultmesh/verifier"
	"vaultmesh/verifier/report"
)

// What the program ends with.
const (
	allProven = 0
	notProven = 1
	badUsage  = 2
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(arguments []string, in io.Reader, out, problems io.Writer) int {
	orders, err := readOptions(arguments)
	switch {
	case err != nil:
		fmt.Fprintf(problems, "vaultmesh-verify: %v\n", err)
		return badUsage
	case orders.help:
		fmt.Fprint(out, usage)
		return allProven
	case orders.lines != "":
		err = answerLines(in, out, answers[orders.lines](orders.trust))
	default:
		return verifyFiles(orders, out, problems)
	}
	if err != nil {
		fmt.Fprintf(problems, "vaultmesh-verify: %v\n", err)
		return notProven
	}
	return allProven
}

// fileReport is the report of one file.
type fileReport struct {
	Path string `json:"path"`
	report.Report
}

func verifyFiles(orders *options, out, problems io.Writer) int {
	reports := make([]fileReport, 0, len(orders.files))
	verified := true
	for _, path := range orders.files {
		result := verifyFile(path, orders.trust)
		verified = verified && result.Overall.Standing == report.Proven
		reports = append(reports, fileReport{path, result})
	}
	var err error
	if orders.json {
		encoder := json.NewEncoder(out)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(map[string]any{"verified": verified, "reports": reports})
	} else {
		err = writeReports(out, reports)
	}
	if err != nil {
		fmt.Fprintf(problems, "vaultmesh-verify: %v\n", err)
		return notProven
	}
	if verified {
		return allProven
	}
	return notProven
}

func verifyFile(path string, trust report.Trust) report.Report {
	content, err := os.ReadFile(path)
	if err != nil {
		return report.Unreadable("can't be read: " + reason(err))
	}
	return verifyText(content, trust)
}

func verifyText(content []byte, trust report.Trust) report.Report {
	result, err := verifier.Verify(content, trust)
	if err != nil {
		return report.Unreadable("is no proof file and no anchor receipt: " + err.Error())
	}
	return result
}

// reason returns what the system says of a file, without its name.
func reason(err error) string {
	var pathError *os.PathError
	if errors.As(err, &pathError) {
		return pathError.Err.Error()
	}
	return err.Error()
}

// answerLines answers every line, also an empty one and a last one that nothing ends.
func answerLines(in io.Reader, out io.Writer, answer func(line []byte) (string, error)) error {
	reader, writer := bufio.NewReader(in), bufio.NewWriter(out)
	for {
		line, err := reader.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		ended := err != nil
		if ended && len(line) == 0 {
			return writer.Flush()
		}
		if !ended {
			line = line[:len(line)-1]
		}
		said, err := answer(line)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(writer, said); err != nil {
			return err
		}
	}
}
