// Package page holds the sources of the one-file page for auditors.
package page

import _ "embed"

// HTML is the page's frame, with a place for each part that goes into it.
//
//go:embed page.html
var HTML string

// CSS is the page's style.
//
//go:embed page.css
var CSS string

// JS is the page's script.
//
//go:embed page.js
var JS string
