package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	"vaultmesh/verifier/proof"
	"vaultmesh/verifier/report"
)

const usage = `usage: vaultmesh-verify [options] FILE...

Says of each proof file what is proven: for each ledger by when, and under which
trust. FILE is a proof file, or an anchor receipt alone. No network is used.

Nothing is trusted by itself. State what you know from a source of your own:

  --trust-block HASH    an EVM block that is final on its chain
  --trust-header HASH   a Bitcoin block that is in the chain: the anchor's, or
                        one on top of it that the file carries
  --trust-roots FILE    root certificates (PEM) of a time-stamp authority whose
                        clock you believe

Each may be repeated.

  --json                print JSON
  --stdin-lines         read one proof a line from standard input, and answer
                        each with its report as one line of JSON
  --stdin-inclusions    read one inclusion proof a line, and answer each with
                        "accepted 0xROOT" or "refused REASON"
  --help                print this

Exit 0: all files are proven. 1: one is not. 2: bad usage.
`

// options is what the program was asked to do.
type options struct {
	json, help bool
	lines      string
	trust      report.Trust
	files      []string
}

// answers are the ways to answer a line.
var answers = map[string]func(report.Trust) func([]byte) (string, error){
	"--stdin-lines": func(trust report.Trust) func([]byte) (string, error) {
		return func(line []byte) (string, error) {
			written, err := json.Marshal(verifyText(line, trust))
			return string(written), err
		}
	},
	"--stdin-inclusions": func(report.Trust) func([]byte) (string, error) {
		return func(line []byte) (string, error) { return inclusionVerdict(line), nil }
	},
}

func inclusionVerdict(line []byte) string {
	inclusion, err := proof.ReadInclusion(line)
	if err != nil {
		return fmt.Sprintf("refused %q", err)
	}
	root, err := inclusion.ProvenRoot()
	if err != nil {
		return fmt.Sprintf("refused %q", err)
	}
	return "accepted " + root.ReceiptForm()
}

// readOptions reads options and files in any order; after -- there are files only.
func readOptions(arguments []string) (*options, error) {
	read := &options{}
	for len(arguments) > 0 {
		argument := arguments[0]
		arguments = arguments[1:]
		name, value, hasValue := strings.Cut(argument, "=")
		switch name {
		case "--":
			read.files = append(read.files, arguments...)
			arguments = nil
		case "--json":
			read.json = true
		case "--help", "-h":
			read.help = true
		case "--stdin-lines", "--stdin-inclusions":
			read.lines = name
		case "--trust-block", "--trust-header", "--trust-roots":
			if !hasValue {
				if len(arguments) == 0 {
					return nil, fmt.Errorf("%s needs a value", name)
				}
				value, arguments = arguments[0], arguments[1:]
			}
			if err := read.addTrust(name, value); err != nil {
				return nil, err
			}
		default:
			if strings.HasPrefix(argument, "-") {
				return nil, fmt.Errorf("%s is no option; --help names them", argument)
			}
			read.files = append(read.files, argument)
		}
	}
	return read, read.requireSense()
}

func (read *options) requireSense() error {
	switch {
	case read.help:
		return nil
	case read.lines != "" && len(read.files) > 0:
		return fmt.Errorf("%s reads standard input; name no files", read.lines)
	case read.lines == "" && len(read.files) == 0:
		return errors.New("name a proof file; --help says more")
	}
	return nil
}

func (read *options) addTrust(name, value string) error {
	const hashBytes = 32
	trust := &read.trust
	switch name {
	case "--trust-block":
		digits, prefixed := strings.CutPrefix(value, "0x")
		if data, err := hex.DecodeString(digits); !prefixed || err != nil || len(data) != hashBytes {
			return fmt.Errorf("--trust-block %q is no block hash; write 0x and 64 hex digits", value)
		}
		trust.Blocks = append(trust.Blocks, strings.ToLower(value))
	case "--trust-header":
		if data, err := hex.DecodeString(value); err != nil || len(data) != hashBytes {
			return fmt.Errorf("--trust-header %q is no block hash; write 64 hex digits", value)
		}
		trust.Headers = append(trust.Headers, strings.ToLower(value))
	default:
		roots, err := readRoots(value)
		if err != nil {
			return err
		}
		trust.Authorities = append(trust.Authorities, roots)
	}
	return nil
}

func readRoots(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("--trust-roots %s: %s; name a file that can be read", path, reason(err))
	}
	if !bytes.Contains(content, []byte("-----BEGIN CERTIFICATE-----")) {
		return "", fmt.Errorf("--trust-roots %s holds no certificate; name a PEM file", path)
	}
	if block, _ := pem.Decode(content); block == nil {
		return "", fmt.Errorf("--trust-roots %s holds a certificate that can't be read; name a PEM file", path)
	}
	return string(content), nil
}
