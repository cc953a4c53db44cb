// Package page holds the sources of the one-file page for auditors.
package page

import (
	_ "embed"
	"strings"
)

// HTML is the page's frame, with a place for each part that goes into it.
//
//go:embed page.html
var HTML string

// CSS is the page's style.
//
//go:embed page.css
var CSS string

// JS is the page's script: the files of its folder, one after the other.
var JS = strings.Join([]string{words, elements, verifying, files, verdict, ledgers, start}, "\n")

//go:embed script/words.js
var words string

//go:embed script/elements.js
var elements string

//go:embed script/verifying.js
var verifying string

//go:embed script/files.js
var files string

//go:embed script/verdict.js
var verdict string

//go:embed script/ledgers.js
var ledgers string

//go:embed script/page.js
var start string
