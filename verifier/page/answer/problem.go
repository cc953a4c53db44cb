package answer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Problem says in plain words why a file is not verified.
type Problem struct {
	// What is wrong, in one sentence.
	What string `json:"what"`
	// Where it shows.
	Where string `json:"where"`
	// Mend says what to do about it.
	Mend string `json:"mend"`
}

const (
	format   = "vaultmesh-proof"
	newCopy  = "Ask for the file again, and keep it as it comes: editors and chat programs change files."
	makeOne  = "Ask whoever keeps the event for its proof file; they make it with the command “proof”."
	ourFault = "Load the page again. If it happens again, verify the file with the command-line verifier, and report it."
)

func stopped(reason string) *Problem {
	return &Problem{What: "The verifier stopped. This says nothing about the proof.", Where: reason, Mend: ourFault}
}

// unreadable says why a file is no JSON, or returns nil.
func unreadable(file []byte) *Problem {
	var document json.RawMessage
	err := json.Unmarshal(file, &document)
	if err == nil {
		return nil
	}
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return &Problem{What: "This is no proof file: it is not JSON.", Where: err.Error(), Mend: makeOne}
	}
	if int(syntax.Offset) >= len(bytes.TrimRight(file, " \t\r\n")) && begins(file) {
		return &Problem{
			What:  "The file ends in the middle: it was cut off.",
			Where: "It breaks off at " + place(file, len(file)) + ".",
			Mend:  "It was not copied or downloaded as a whole. " + newCopy,
		}
	}
	where := fmt.Sprintf("At %s: %s.", place(file, int(syntax.Offset)-1), syntax)
	if begins(file) {
		return &Problem{What: "The file is damaged: it is not valid JSON.", Where: where, Mend: newCopy}
	}
	return &Problem{What: "This is no proof file: it is not JSON.", Where: where, Mend: makeOne}
}

// refused says why a JSON file is no proof.
func refused(file []byte, err error) *Problem {
	var head struct {
		Format    any `json:"format"`
		EventHash any `json:"eventHash"`
		TxRef     any `json:"txRef"`
		Leaves    any `json:"leaves"`
		Overall   any `json:"report"`
	}
	readable := json.Unmarshal(file, &head) == nil
	if readable && head.Format == format {
		return &Problem{What: "This proof file is wrong: it is not as such files are written.", Where: err.Error(), Mend: newCopy}
	}
	what := "This is JSON, but no proof file."
	switch {
	case head.Overall != nil:
		what = "This is a report that was saved here, not a proof file."
	case head.EventHash != nil:
		what = "This is an event’s receipt. A proof file holds it together with what the ledgers say."
	case head.TxRef != nil:
		return &Problem{What: "This receipt of an anchor is wrong: it is not as receipts are written.", Where: err.Error(), Mend: newCopy}
	case head.Leaves != nil:
		what = "This is a batch. A proof file leads from one of its events to the ledgers."
	}
	return &Problem{What: what, Where: fmt.Sprintf("Its key “format” does not say “%s” (%s).", format, err), Mend: makeOne}
}

func begins(file []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(file, " \t\r\n"), []byte("{"))
}

// place returns a byte's line and column, as editors count them.
func place(file []byte, offset int) string {
	before := file[:max(0, min(offset, len(file)))]
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return fmt.Sprintf("line %d, column %d", bytes.Count(before, []byte("\n"))+1, column)
}
