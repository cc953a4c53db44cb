package proof

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"vaultmesh/verifier/strictjson"
)

// Event is VaultMesh's event receipt: the way from one event to its batch's root.
type Event struct {
	Hash, BatchRoot Root
	path            []Root
	anchor          eventAnchor
	integrity       string
}

// eventAnchor is the one anchor that an event receipt names.
type eventAnchor struct {
	chain               string
	contract, memo, sig *string
	tx                  string
	block               *big.Int
	ts                  *big.Int
	// further tells whether it says more: keys that are not ours.
	further bool
}

// File is a proof file: one event, and every ledger that holds it.
type File struct {
	EventID string
	Event   *Event
	Anchors []*Receipt
}

// Format is what a proof file calls itself.
const Format = "vaultmesh-proof"

// longestPath is the most siblings of an event's path that are tried: a million events.
const longestPath = 20

// internalChain stands in an event's anchor while its batch is sealed only.
const internalChain = "vm:internal"

var latestSecond = big.NewInt(253_402_300_799)

// Read reads a proof file, or an anchor receipt alone: of a file without event there is one anchor.
func Read(text []byte) (*File, error) {
	value, err := strictjson.Parse(text)
	if err != nil {
		return nil, err
	}
	if format := value.Get("format"); format.Is(strictjson.String) && format.Text == Format {
		return readFile(value)
	}
	receipt, err := readReceipt(value, "")
	if err != nil {
		return nil, err
	}
	return &File{Anchors: []*Receipt{receipt}}, nil
}

func readFile(value *strictjson.Value) (*File, error) {
	var err error
	read := newObject(value, "", &err)
	read.constant("format", Format, true)
	read.constant("version", "1", true)
	file := &File{EventID: read.name("eventId"), Event: readEvent(read.member("event"), &err)}
	anchors := read.list("anchors")
	if len(anchors) == 0 {
		read.fail("anchors", "names no ledger")
	}
	read.closed()
	if err != nil {
		return nil, err
	}
	for at, anchor := range anchors {
		receipt, err := readReceipt(anchor, fmt.Sprintf("anchors.%d", at))
		if err != nil {
			return nil, err
		}
		file.Anchors = append(file.Anchors, receipt)
	}
	return file, nil
}

// readEvent lets keys stand that are not ours.
func readEvent(value *strictjson.Value, err *error) *Event {
	read := newObject(value, "event", err)
	event := &Event{
		Hash:      read.batchRoot("eventHash", read.member("eventHash")),
		BatchRoot: read.batchRoot("batchRoot", read.member("batchRoot")),
		anchor:    readEventAnchor(read.member("anchor"), err),
		integrity: read.text("integrity"),
	}
	read.text("verifier")
	for _, sibling := range read.list("path") {
		event.path = append(event.path, read.batchRoot("path", sibling))
	}
	return event
}

func readEventAnchor(value *strictjson.Value, err *error) eventAnchor {
	read := newObject(value, "event.anchor", err)
	anchor := eventAnchor{
		chain:    read.text("chain"),
		contract: read.nullable("contract"),
		tx:       read.text("tx"),
		block:    read.integer("block"),
		ts:       read.count("ts", 0),
		memo:     read.nullable("memo"),
		sig:      read.nullable("sig"),
	}
	if anchor.ts.Cmp(latestSecond) > 0 {
		read.fail("ts", "is after the year 9999")
	}
	anchor.further = read.open()
	return anchor
}

// leads tells whether some choice of sides leads from the event to its batch's root: the path says none.
func (event *Event) leads() (bool, error) {
	if len(event.path) > longestPath {
		return false, errors.New("the path is too long")
	}
	reached := map[Root]bool{event.Hash: true}
	for _, sibling := range event.path {
		above := make(map[Root]bool, 2*len(reached))
		for digest := range reached {
			above[sha256.Sum256(append(digest[:], sibling[:]...))] = true
			above[sha256.Sum256(append(append([]byte{}, sibling[:]...), digest[:]...))] = true
		}
		reached = above
	}
	return reached[event.BatchRoot], nil
}

// derivedAnchor returns what an event receipt says of its batch's anchors: of those that are direct and final,
// Bitcoin's before an EVM chain's before a time stamp, then the earliest. Nil if there is none.
func derivedAnchor(event *Event, anchors []*Receipt) *eventAnchor {
	var first *Receipt
	for _, anchor := range anchors {
		if anchor.Root != event.BatchRoot || anchor.Aggregation != nil || !anchor.IsFinal() {
			continue
		}
		if first == nil || precedes(anchor, first) {
			first = anchor
		}
	}
	if first == nil {
		return nil
	}
	scheme := first.Scheme
	memo := scheme.memo
	if policy := first.evidenceText(scheme.policyKey); policy != nil && *policy != "" {
		memo = "tsaPolicyOID=" + *policy
	}
	return &eventAnchor{
		chain:    first.Network.String(),
		contract: first.evidenceText(scheme.contractKey),
		tx:       first.TxRef,
		block:    first.BlockNumber,
		ts:       big.NewInt(first.AnchorTs.Seconds()),
		memo:     &memo,
		sig:      first.evidenceText(scheme.signatureKey),
	}
}

func precedes(left, right *Receipt) bool {
	if left.Scheme.rank != right.Scheme.rank {
		return left.Scheme.rank < right.Scheme.rank
	}
	if left.AnchorTs.Micros != right.AnchorTs.Micros {
		return left.AnchorTs.Micros < right.AnchorTs.Micros
	}
	if order := strings.Compare(left.Network.String(), right.Network.String()); order != 0 {
		return order < 0
	}
	return left.TxRef < right.TxRef
}

// evidenceText returns a text of the scheme's evidence; nil if there is none, or no key for it.
func (receipt *Receipt) evidenceText(key string) *string {
	if value := receipt.Evidence.Get(key); key != "" && value.Is(strictjson.String) {
		return &value.Text
	}
	return nil
}

func (anchor *eventAnchor) equals(other *eventAnchor) bool {
	return anchor.chain == other.chain && anchor.tx == other.tx && anchor.further == other.further &&
		anchor.block.Cmp(other.block) == 0 && anchor.ts.Cmp(other.ts) == 0 &&
		sameText(anchor.contract, other.contract) && sameText(anchor.memo, other.memo) && sameText(anchor.sig, other.sig)
}

func sameText(left, right *string) bool {
	if left == nil || right == nil {
		return left == right
	}
	return *left == *right
}
