// Package bitcoin proves anchors on Bitcoin by what a receipt carries, without a node.
//
// The proof leads from the signed bytes through the transaction's id and its branch to a block's header, and the headers
// on top of it. What it can't show is that this chain is everybody's: the user states which header is trusted.
package bitcoin

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"vaultmesh/verifier/proof"
	"vaultmesh/verifier/report"
	"vaultmesh/verifier/strictjson"
)

// evidence is the btc part of a receipt's evidence; other keys say nothing.
type evidence struct {
	network, genesis, rawTransaction, blockHash, header string
	position                                            *big.Int
	merkleBranch, coinbaseBranch, headers               []string
	coinbase                                            string
}

func readEvidence(value *strictjson.Value) (*evidence, error) {
	read := &evidence{}
	var bad []string
	for key, into := range map[string]*string{
		"network": &read.network, "genesis": &read.genesis, "rawTransaction": &read.rawTransaction,
		"blockHash": &read.blockHash, "header": &read.header, "coinbase": &read.coinbase,
	} {
		if text := value.Get(key); text.Is(strictjson.String) {
			*into = text.Text
		} else {
			bad = append(bad, key)
		}
	}
	for key, into := range map[string]*[]string{
		"merkleBranch": &read.merkleBranch, "coinbaseBranch": &read.coinbaseBranch, "headers": &read.headers,
	} {
		most := mostLevels
		if key == "headers" {
			most = mostHeaders
		}
		list := value.Get(key)
		if list == nil && key == "headers" {
			continue // none before it is final
		}
		var ok bool
		if *into, ok = textsOf(list, most); !ok {
			bad = append(bad, key)
		}
	}
	if read.position = value.Get("position").Number(); read.position == nil || read.position.Sign() < 0 {
		bad = append(bad, "position")
	}
	if len(bad) > 0 {
		slices.Sort(bad)
		return nil, fmt.Errorf("the evidence lacks or misstates %s", strings.Join(bad, ", "))
	}
	return read, nil
}

func textsOf(list *strictjson.Value, most int) (texts []string, ok bool) {
	if !list.Is(strictjson.Array) || len(list.Items) > most {
		return nil, false
	}
	for _, text := range list.Items {
		if !text.Is(strictjson.String) {
			return nil, false
		}
		texts = append(texts, text.Text)
	}
	return texts, true
}

// proven is what a receipt shows by itself.
type proven struct {
	tx     *transaction
	chain  []*header
	height *big.Int
}

// prove checks branches, header and the headers on top against each other.
func (carried *evidence) prove() (*proven, error) {
	tx, err := parseHex(carried.rawTransaction)
	if err != nil {
		return nil, err
	}
	first, err := parseHeader(carried.header)
	if err != nil {
		return nil, err
	}
	if first.hash.String() != carried.blockHash {
		return nil, fmt.Errorf("the header is that of block %s, not %s", first.hash, carried.blockHash)
	}
	if root, err := branchRoot(tx, carried.position, carried.merkleBranch); err != nil || root != first.merkleRoot {
		return nil, fmt.Errorf("the branch does not lead from %s to block %s%s", tx.id(), first.hash, because(err))
	}
	coinbase, err := parseHex(carried.coinbase)
	if err != nil {
		return nil, err
	}
	root, err := branchRoot(coinbase, new(big.Int), carried.coinbaseBranch)
	if err != nil || root != first.merkleRoot {
		return nil, fmt.Errorf("the branch does not lead from the first transaction to block %s%s", first.hash, because(err))
	}
	if len(carried.coinbaseBranch) != len(carried.merkleBranch) {
		return nil, errors.New("the two branches are of different depths")
	}
	shows := &proven{tx: tx, chain: []*header{first}}
	for _, text := range carried.headers {
		link, err := parseHeader(text)
		if err != nil {
			return nil, err
		}
		shows.chain = append(shows.chain, link)
	}
	if err := requireChain(shows.chain); err != nil {
		return nil, err
	}
	shows.height, err = heightIn(coinbase)
	return shows, err
}

func parseHex(text string) (*transaction, error) {
	data, err := readHex(text)
	if err != nil {
		return nil, err
	}
	return parseTransaction(data)
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

// Find checks everything that a receipt carries of its block, and whether one of its headers is trusted.
func Find(receipt *proof.Receipt, commitment proof.Root, trust report.Trust) report.Findings {
	carried, err := readEvidence(receipt.Evidence)
	var shows *proven
	if err == nil {
		shows, err = carried.prove()
	}
	if err != nil {
		return report.Findings{Checks: []report.Check{{Name: "block proof", Found: report.Wrong, Detail: err.Error()}}}
	}
	checks := []report.Check{networkCheck(receipt, carried, shows)}
	checks = append(checks, claimChecks(receipt, commitment, shows)...)
	checks = append(checks, depthCheck(receipt, shows), trustCheck(shows, trust))
	return report.Findings{
		Checks: checks,
		When:   receipt.AnchorTs.String() + " ± 2 h (the clock of the block's miner)",
		Trust:  "trust in a header from block " + carried.blockHash + " on",
		Place:  fmt.Sprintf("block %s, %s, transaction %s", receipt.BlockNumber, carried.blockHash, receipt.TxRef),
		Needed: report.Trust{Headers: []string{shows.chain[len(shows.chain)-1].hash.String()}},
	}
}

// networkCheck compares the names, and refuses headers that are too easy for the network: a private chain's are no
// other's.
func networkCheck(receipt *proof.Receipt, carried *evidence, shows *proven) report.Check {
	const name = "network"
	rules, known := networks[receipt.Network.Reference]
	same := known && slices.Contains(rules.geneses, carried.genesis) && carried.network == receipt.Network.Reference
	detail := fmt.Sprintf("%s, evidence of %s from genesis %s", receipt.Network, carried.network, carried.genesis)
	if same && slices.ContainsFunc(shows.chain, func(link *header) bool {
		return link.target.Cmp(rules.easiestTarget) > 0
	}) {
		detail += "; its headers claim less work than a block of " + receipt.Network.Reference + " takes"
		return report.Check{Name: name, Found: report.Wrong, Detail: detail}
	}
	return report.HoldsIf(name, detail, same)
}

func claimChecks(receipt *proof.Receipt, commitment proof.Root, shows *proven) []report.Check {
	txid, block := shows.tx.id().String(), shows.chain[0]
	roots := make([]string, 0, 1)
	for _, root := range shows.tx.commitments {
		roots = append(roots, hex.EncodeToString(root))
	}
	committed := len(roots) == 1 && string(shows.tx.commitments[0]) == string(commitment[:])
	height := fmt.Sprintf("the block says %s, the receipt %s", shows.height, receipt.BlockNumber)
	time := proof.InstantOfSeconds(block.time)
	return []report.Check{
		report.HoldsIf("transaction", "hashes to "+txid, txid == receipt.TxRef),
		report.HoldsIf("root", "commits to "+orNothing(strings.Join(roots, ", ")), committed),
		{Name: "merkle branch", Found: report.Holds, Detail: "leads to block " + block.hash.String()},
		report.HoldsIf("block number", height, shows.height.Cmp(receipt.BlockNumber) == 0),
		report.HoldsIf("timestamp", fmt.Sprintf("block time %s, claimed %s", time, receipt.AnchorTs),
			time.Micros == receipt.AnchorTs.Micros),
	}
}

func orNothing(text string) string {
	if text == "" {
		return "nothing"
	}
	return text
}

func depthCheck(receipt *proof.Receipt, shows *proven) report.Check {
	required := receipt.RequiredDepth
	detail := fmt.Sprintf("%d of %s headers follow each other, with the work they claim", len(shows.chain), required)
	if big.NewInt(int64(len(shows.chain))).Cmp(required) >= 0 {
		return report.Check{Name: "depth", Found: report.Holds, Detail: detail}
	}
	return report.Check{Name: "depth", Found: report.Open, Detail: detail + ": not final yet"}
}

func trustCheck(shows *proven, trust report.Trust) report.Check {
	const name = report.Trusted + "header"
	for _, link := range shows.chain {
		if written := link.hash.String(); trust.WithHeader(written) {
			return report.Check{Name: name, Found: report.Holds, Detail: written}
		}
	}
	detail := fmt.Sprintf("whether %s is a block of everybody's chain: state it, or another one from %s on, with --trust-header",
		shows.chain[len(shows.chain)-1].hash, shows.chain[0].hash)
	return report.Check{Name: name, Found: report.Open, Detail: detail}
}
