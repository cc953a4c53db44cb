// Package answer says what the page for auditors shows of a file: a report, or a problem in plain words.
//
//   - A file that is no proof is a problem that says what it is, where that shows, and how to mend it.
//   - Whatever a file makes the verifier do, the answer is JSON.
package answer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"runtime"

	verifier "vaultmesh/verifier"
	"vaultmesh/verifier/report"
)

// File names the bytes that were verified, so that a saved report can be tied to them.
type File struct {
	Bytes  int    `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Answer is what the page gets.
type Answer struct {
	// Go is the toolchain that built the verifier.
	Go   string `json:"go"`
	File *File  `json:"file,omitempty"`
	// Report is there unless there is a problem, or no file.
	Report  *report.Report `json:"report,omitempty"`
	Problem *Problem       `json:"problem,omitempty"`
	// Authorities describes each PEM file of the trust, in its order.
	Authorities []Authority `json:"authorities"`
}

// To answers about a proof's text under a trust, which is JSON; an empty text asks about the trust alone.
func To(file, trust []byte) []byte {
	text, err := json.Marshal(about(file, trust))
	if err != nil {
		text, _ = json.Marshal(Answer{Problem: &Problem{What: "The report can’t be written", Where: err.Error()}})
	}
	return text
}

func about(file, trustText []byte) (answer Answer) {
	answer = Answer{Go: runtime.Version(), Authorities: []Authority{}}
	defer func() {
		if fault := recover(); fault != nil {
			answer.Report, answer.Problem = nil, stopped(fmt.Sprint(fault))
		}
	}()
	var trust report.Trust
	if err := json.Unmarshal(trustText, &trust); err != nil {
		answer.Problem = stopped("the page’s trust can’t be read: " + err.Error())
		return answer
	}
	trust.Authorities, answer.Authorities = readable(trust.Authorities)
	if len(file) == 0 {
		return answer
	}
	digest := sha256.Sum256(file)
	answer.File = &File{Bytes: len(file), SHA256: hex.EncodeToString(digest[:])}
	if answer.Problem = unreadable(file); answer.Problem != nil {
		return answer
	}
	found, err := verifier.Verify(file, trust)
	if err != nil {
		answer.Problem = refused(file, err)
		return answer
	}
	answer.Report = &found
	return answer
}
