// Secondverifier is the place where inclusion proofs are checked a second time: in another language, by the written
// rules alone, with nothing but the standard library.
//
// It reads one `evidence.aggregation` per line and answers each with one line: `accepted 0x<root>` or `refused <why>`.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := answerLines(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// answerLines answers every line, also an empty one and a last one that nothing ends.
func answerLines(in io.Reader, out io.Writer) error {
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
		if _, err := fmt.Fprintln(writer, verdict(line)); err != nil {
			return err
		}
	}
}

func verdict(line []byte) string {
	found, err := readProof(line)
	if err != nil {
		return fmt.Sprintf("refused %q", err)
	}
	root, err := found.provenRoot()
	if err != nil {
		return fmt.Sprintf("refused %q", err)
	}
	return fmt.Sprintf("accepted 0x%x", root)
}
