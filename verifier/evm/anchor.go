// Package evm proves anchors on EVM chains from a block's header, without a node.
//
//  1. A block's hash is the Keccak-256 of its header's RLP; the header names the roots of two tries.
//  2. One trie holds the signed transaction, the other at the same index what became of it, with the logs.
//  3. The signed transaction binds chain and contract, the logs bind commitment and batch id.
//  4. Whether the block is the chain's is not proven here: the user states which block hashes are trusted.
package evm

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"unicode"

	"vaultmesh/verifier/proof"
	"vaultmesh/verifier/report"
	"vaultmesh/verifier/strictjson"
)

// Keys of the proof in a receipt's evidence.
const (
	headerKey, indexKeyName = "header", "transactionIndex"
	receiptNodes, txNodes   = "receiptProof", "transactionProof"
	missingKey              = "proofMissing"
)

// mostNodes is the most nodes of one proof: as many as a key of 32 bytes has nibbles.
const mostNodes = 64

const longestReason = 300

// Places in a header, and the fewest items that one has.
const (
	transactionsRoot, receiptsRoot, numberPlace, timePlace = 4, 5, 8, 11
	fewestHeaderItems                                      = 15
)

var (
	hexForm = regexp.MustCompile(`\A0x(?:[0-9a-f]{2})*\z`)
	// chainIDForm writes each number in one way, so that no chain has two names.
	chainIDForm = regexp.MustCompile(`\A(?:0|[1-9][0-9]*)\z`)
	// anchored is the first topic of BatchAnchored(bytes32 indexed root, bytes32 indexed batchId, string memo).
	anchored = Keccak([]byte("BatchAnchored(bytes32,bytes32,string)"))
	// calledContract is the place of `to` by the transaction's type; the chain's id is the first item of each.
	calledContract = map[byte]int{1: 4, 2: 5, 3: 5, 4: 5}
)

// claim is what a receipt says of its transaction.
type claim struct {
	receipt                                 *proof.Receipt
	commitment                              proof.Root
	chainID                                 *big.Int
	blockHash, txHash, raw, contract, batch []byte
}

// Find checks everything that a receipt carries of its block, and whether the block is trusted.
func Find(receipt *proof.Receipt, commitment proof.Root, trust report.Trust) report.Findings {
	stated, err := readClaim(receipt, commitment)
	if err != nil {
		return report.Findings{Checks: []report.Check{{Name: "evidence", Found: report.Wrong, Detail: err.Error()}}}
	}
	blockHash := "0x" + hex.EncodeToString(stated.blockHash)
	return report.Findings{
		Checks: append(stated.blockChecks(), trustCheck(blockHash, trust)),
		When:   receipt.AnchorTs.String() + " (the clock of the block's proposer or sequencer)",
		Trust:  "trust in block " + blockHash,
		Place:  fmt.Sprintf("block %s, %s, transaction %s", receipt.BlockNumber, blockHash, receipt.TxRef),
		Needed: report.Trust{Blocks: []string{blockHash}},
	}
}

func readClaim(receipt *proof.Receipt, commitment proof.Root) (*claim, error) {
	if !chainIDForm.MatchString(receipt.Network.Reference) {
		return nil, fmt.Errorf("%s is not an EVM chain: its reference is no chain id", receipt.Network)
	}
	stated := &claim{receipt: receipt, commitment: commitment}
	stated.chainID, _ = new(big.Int).SetString(receipt.Network.Reference, 10)
	stated.txHash, _ = hex.DecodeString(receipt.TxRef[2:])
	for _, field := range []struct {
		into   *[]byte
		key    string
		length int
	}{
		{&stated.blockHash, "blockHash", 32},
		{&stated.raw, "rawTransaction", -1},
		{&stated.contract, "contract", 20},
		{&stated.batch, "batchId", 32},
	} {
		data, err := readHex(receipt.Evidence.Get(field.key), field.key)
		if err != nil {
			return nil, err
		}
		if field.length >= 0 && len(data) != field.length {
			return nil, fmt.Errorf("%s has %d bytes, not %d", field.key, len(data), field.length)
		}
		*field.into = data
	}
	return stated, nil
}

func readHex(value *strictjson.Value, key string) ([]byte, error) {
	if !value.Is(strictjson.String) || !hexForm.MatchString(value.Text) {
		return nil, fmt.Errorf("%s is not 0x and lower-case hex", key)
	}
	return hex.DecodeString(value.Text[2:])
}

func trustCheck(blockHash string, trust report.Trust) report.Check {
	const name = report.Trusted + "block"
	if trust.WithBlock(blockHash) {
		return report.Check{Name: name, Found: report.Holds, Detail: blockHash}
	}
	detail := "whether " + blockHash + " is a final block of the chain: state it with --trust-block"
	return report.Check{Name: name, Found: report.Open, Detail: detail}
}

func (stated *claim) blockChecks() []report.Check {
	evidence := stated.receipt.Evidence
	carried := false
	for _, key := range []string{headerKey, indexKeyName, receiptNodes, txNodes} {
		carried = carried || evidence.Get(key) != nil
	}
	if !carried {
		detail := "the receipt carries no block proof: " + whyMissing(evidence)
		return []report.Check{{Name: "block header", Found: report.Open, Detail: detail}}
	}
	carries, err := readBlock(evidence)
	if err != nil {
		return []report.Check{{Name: "block proof", Found: report.Wrong, Detail: err.Error()}}
	}
	walk := &walk{claim: stated, block: carries}
	var checks []report.Check
	for _, step := range []struct {
		name string
		take func() (string, error)
	}{
		{"block header", walk.readHeader},
		{"block time", walk.bindTime},
		{"transaction", walk.bindTransaction},
		{"contract", walk.bindContract},
		{"transaction receipt", walk.readReceipt},
		{"root", walk.findRoot},
	} {
		detail, err := step.take()
		if err != nil {
			return append(checks, report.Check{Name: step.name, Found: report.Wrong, Detail: err.Error()})
		}
		checks = append(checks, report.Check{Name: step.name, Found: report.Holds, Detail: detail})
	}
	return checks
}

// whyMissing returns what the receipt itself says of it, made safe to show.
func whyMissing(evidence *strictjson.Value) string {
	value := evidence.Get(missingKey)
	if !value.Is(strictjson.String) {
		return "not final yet, or the node could not show it"
	}
	safe := []rune(strings.Map(func(letter rune) rune {
		if unicode.IsPrint(letter) {
			return letter
		}
		return -1
	}, value.Text))
	return string(safe[:min(len(safe), longestReason)])
}

// block is what a final receipt carries of its block.
type block struct {
	header                 []byte
	index                  *big.Int
	receipts, transactions [][]byte
}

func readBlock(evidence *strictjson.Value) (carried block, err error) {
	carried.index = evidence.Get(indexKeyName).Number()
	if carried.index == nil || carried.index.Sign() < 0 {
		return carried, fmt.Errorf("%s is not a count", indexKeyName)
	}
	if carried.header, err = readHex(evidence.Get(headerKey), headerKey); err != nil {
		return carried, err
	}
	if carried.receipts, err = readNodes(evidence, receiptNodes); err != nil {
		return carried, err
	}
	carried.transactions, err = readNodes(evidence, txNodes)
	return carried, err
}

func readNodes(evidence *strictjson.Value, key string) ([][]byte, error) {
	list := evidence.Get(key)
	if !list.Is(strictjson.Array) || len(list.Items) > mostNodes {
		return nil, fmt.Errorf("%s is not a list of at most %d nodes", key, mostNodes)
	}
	nodes := make([][]byte, 0, len(list.Items))
	for _, text := range list.Items {
		node, err := readHex(text, key)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, node)
	}
	return nodes, nil
}

// walk leads from a header to a log; each step needs what the one before it read.
type walk struct {
	claim  *claim
	block  block
	header []item
	tx     []item
	txType byte
	logs   []item
}

// readHeader binds header, hash and number.
func (walk *walk) readHeader() (string, error) {
	digest := Keccak(walk.block.header)
	if string(digest[:]) != string(walk.claim.blockHash) {
		return "", fmt.Errorf("the header hashes to 0x%x, not to 0x%x", digest, walk.claim.blockHash)
	}
	var err error
	if walk.header, err = decodeList(walk.block.header, "the header"); err != nil {
		return "", err
	}
	if len(walk.header) < fewestHeaderItems {
		return "", fmt.Errorf("the header has %d items only", len(walk.header))
	}
	number, err := numberOf(walk.header[numberPlace], "the header's number")
	if err != nil {
		return "", err
	}
	if number.Cmp(walk.claim.receipt.BlockNumber) != 0 {
		return "", fmt.Errorf("the header is of block %s, not of %s", number, walk.claim.receipt.BlockNumber)
	}
	return fmt.Sprintf("block %s hashes to 0x%x", number, digest), nil
}

// bindTime binds the block's time.
func (walk *walk) bindTime() (string, error) {
	seconds, err := numberOf(walk.header[timePlace], "the header's time")
	if err != nil {
		return "", err
	}
	micros := new(big.Int).Mul(seconds, big.NewInt(1e6))
	if claimed := walk.claim.receipt.AnchorTs; micros.Cmp(big.NewInt(claimed.Micros)) != 0 {
		return "", fmt.Errorf("the header says %s seconds since 1970, not %s", seconds, claimed)
	}
	return walk.claim.receipt.AnchorTs.String(), nil
}

// bindTransaction binds the signed bytes to the block.
func (walk *walk) bindTransaction() (string, error) {
	raw := walk.claim.raw
	digest := Keccak(raw)
	if string(digest[:]) != string(walk.claim.txHash) {
		return "", fmt.Errorf("the raw transaction hashes to 0x%x, not to 0x%x", digest, walk.claim.txHash)
	}
	value, err := walk.valueIn(transactionsRoot, walk.block.transactions, "the transaction proof")
	if err != nil {
		return "", err
	}
	if string(value) != string(raw) {
		return "", fmt.Errorf("the block's transaction %s is another one", walk.block.index)
	}
	walk.txType = typeOf(raw)
	if _, known := calledContract[walk.txType]; !known {
		return "", fmt.Errorf("a transaction of type %d does not name its chain as ours do", walk.txType)
	}
	walk.tx, err = decodeList(raw[1:], "the transaction")
	return fmt.Sprintf("0x%x is transaction %s of the block", digest, walk.block.index), err
}

// bindContract binds chain and called contract.
func (walk *walk) bindContract() (string, error) {
	place := calledContract[walk.txType]
	if len(walk.tx) <= place {
		return "", fmt.Errorf("the transaction has %d items only", len(walk.tx))
	}
	chainID, err := numberOf(walk.tx[0], "the transaction's chain id")
	if err != nil {
		return "", err
	}
	if chainID.Cmp(walk.claim.chainID) != 0 {
		return "", fmt.Errorf("the transaction is for eip155:%s, not for eip155:%s", chainID, walk.claim.chainID)
	}
	if called := walk.tx[place]; called.isList || string(called.bytes) != string(walk.claim.contract) {
		return "", fmt.Errorf("the transaction does not call 0x%x", walk.claim.contract)
	}
	return fmt.Sprintf("0x%x on eip155:%s", walk.claim.contract, chainID), nil
}

// readReceipt finds what became of the transaction.
func (walk *walk) readReceipt() (string, error) {
	data, err := walk.valueIn(receiptsRoot, walk.block.receipts, "the receipt proof")
	if err != nil {
		return "", err
	}
	if typeOf(data) != walk.txType {
		return "", fmt.Errorf("the receipt is of type %d, the transaction of %d", typeOf(data), walk.txType)
	}
	items, err := decodeList(data[1:], "the transaction receipt")
	if err != nil {
		return "", err
	}
	if len(items) < 4 || items[0].isList || string(items[0].bytes) != "\x01" {
		return "", errors.New("the transaction reverted")
	}
	if !items[3].isList {
		return "", errors.New("the logs are not a list")
	}
	walk.logs = items[3].list
	return fmt.Sprintf("succeeded, with %d logs", len(walk.logs)), nil
}

// findRoot finds the anchor event of the contract itself.
func (walk *walk) findRoot() (string, error) {
	topics := [][]byte{anchored[:], walk.claim.commitment[:], walk.claim.batch}
	for _, log := range walk.logs {
		if !log.isList {
			return "", errors.New("a log is not a list")
		}
		if len(log.list) != 3 || log.list[0].isList || string(log.list[0].bytes) != string(walk.claim.contract) {
			continue
		}
		if !log.list[1].isList {
			return "", errors.New("a log's topics are not a list")
		}
		if sameTopics(log.list[1].list, topics) {
			return fmt.Sprintf("0x%x is logged", walk.claim.commitment), nil
		}
	}
	return "", fmt.Errorf("no log of 0x%x anchors 0x%x with batch id 0x%x",
		walk.claim.contract, walk.claim.commitment, walk.claim.batch)
}

func sameTopics(logged []item, topics [][]byte) bool {
	if len(logged) != len(topics) {
		return false
	}
	for place, topic := range logged {
		if topic.isList || string(topic.bytes) != string(topics[place]) {
			return false
		}
	}
	return true
}

func (walk *walk) valueIn(place int, nodes [][]byte, what string) ([]byte, error) {
	named := walk.header[place]
	if named.isList || len(named.bytes) != 32 {
		return nil, errors.New("the header names no root of a trie")
	}
	value, err := provenValue([32]byte(named.bytes), indexKey(walk.block.index), nodes)
	if err != nil {
		return nil, fmt.Errorf("%s %w", what, err)
	}
	return value, nil
}

// typeOf returns the type of a transaction or receipt (EIP-2718); 0 for the form without one, which is an RLP list.
func typeOf(data []byte) byte {
	if len(data) > 0 && data[0] < shortList {
		return data[0]
	}
	return 0
}

func decodeList(data []byte, what string) ([]item, error) {
	read, err := decode(data, what)
	if err == nil && !read.isList {
		err = fmt.Errorf("%s is not a list", what)
	}
	return read.list, err
}

func numberOf(read item, what string) (*big.Int, error) {
	if read.isList || len(read.bytes) > 32 || (len(read.bytes) > 0 && read.bytes[0] == 0) {
		return nil, fmt.Errorf("%s is no number", what)
	}
	return new(big.Int).SetBytes(read.bytes), nil
}
