//go:build js && wasm

// The program in the page: it gives the page's script one function that answers about a proof.
package main

import (
	"syscall/js"

	"vaultmesh/verifier/page/answer"
)

// exported is the name of the function: it takes the proof's text and the trust as JSON, and returns JSON.
const exported = "vaultmeshVerify"

func main() {
	js.Global().Set(exported, js.FuncOf(func(_ js.Value, arguments []js.Value) any {
		return string(answer.To([]byte(arguments[0].String()), []byte(arguments[1].String())))
	}))
	select {}
}
