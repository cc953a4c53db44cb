// The program build-page makes the page for auditors: one HTML file with all that it needs inside.
//
// The same sources and the same Go toolchain give the same bytes.
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"vaultmesh/verifier/page"
)

const program = "vaultmesh/verifier/cmd/page"

func main() {
	output := flag.String("o", "dist/vaultmesh-verify.html", "the file to write")
	flag.Parse()
	if err := build(*output); err != nil {
		fmt.Fprintln(os.Stderr, "build-page:", err)
		os.Exit(1)
	}
}

func build(output string) error {
	wasm, err := compile()
	if err != nil {
		return err
	}
	support, err := runtimeSupport()
	if err != nil {
		return err
	}
	html, err := assemble(wasm, support)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(output), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(output, []byte(html), 0o644); err != nil {
		return err
	}
	fmt.Printf("%x  %s (%d kB, %s)\n", sha256.Sum256([]byte(html)), output, len(html)/1000, runtime.Version())
	return nil
}

// compile returns the verifier as WebAssembly, without anything that depends on where it was built.
func compile() ([]byte, error) {
	folder, err := os.MkdirTemp("", "build-page-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	place := filepath.Join(folder, "page.wasm")
	command := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", place, program)
	command.Env = append(os.Environ(), "GOOS=js", "GOARCH=wasm", "GOWASM=", "GOFLAGS=")
	if said, err := command.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s can't be compiled: %w\n%s", program, err, said)
	}
	return os.ReadFile(place)
}

// runtimeSupport returns the script that Go's programs need in a browser; it belongs to the toolchain.
func runtimeSupport() (string, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	script, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(root)), "lib", "wasm", "wasm_exec.js"))
	if err != nil {
		return "", fmt.Errorf("Go 1.24 or later keeps wasm_exec.js there: %w", err)
	}
	return string(script), nil
}

// assemble puts the parts into the page's frame. Nothing runs there but what the policy names by its hash.
func assemble(wasm []byte, support string) (string, error) {
	packed, err := pack(wasm)
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256(wasm)
	policy := strings.Join([]string{
		"default-src 'none'",
		fmt.Sprintf("script-src %s %s 'wasm-unsafe-eval'", source(support), source(page.JS)),
		"style-src " + source(page.CSS),
		"base-uri 'none'",
		"form-action 'none'",
		"require-trusted-types-for 'script'",
		"trusted-types 'none'",
	}, "; ")
	html := page.HTML
	for _, part := range []struct{ place, content, end string }{
		{"{{policy}}", policy, `"`},
		{"{{style}}", page.CSS, "</style"},
		{"{{wasm-sha256}}", hex.EncodeToString(digest[:]), `"`},
		{"{{go}}", runtime.Version(), `"`},
		{"{{wasm}}", packed, "<"},
		{"{{support}}", support, "</script"},
		{"{{script}}", page.JS, "</script"},
	} {
		if strings.Count(html, part.place) != 1 {
			return "", fmt.Errorf("page.html has not one place %s", part.place)
		}
		if strings.Contains(part.content, part.end) {
			return "", fmt.Errorf("what goes to %s holds %s, which would end it", part.place, part.end)
		}
		html = strings.Replace(html, part.place, part.content, 1)
	}
	return html, nil
}

// source names an inline part in a content security policy.
func source(content string) string {
	digest := sha256.Sum256([]byte(content))
	return "'sha256-" + base64.StdEncoding.EncodeToString(digest[:]) + "'"
}

func pack(content []byte) (string, error) {
	var packed bytes.Buffer
	writer, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return "", err
	}
	if _, err := writer.Write(content); err != nil {
		return "", err
	}
	if err := writer.Close(); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(packed.Bytes()), nil
}
