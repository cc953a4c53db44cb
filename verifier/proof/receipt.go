package proof

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"regexp"

	"vaultmesh/verifier/strictjson"
)

// Scheme is what receipts of one kind of ledgers look like.
type Scheme struct {
	// chain, txScheme and evidence are what stands at these keys.
	chain, txScheme, evidence string
	txRef                     *regexp.Regexp
	// rank says whose evidence an event receipt shows: lower ones win.
	rank int
	// HasBlocks tells whether there are blocks, depths and transactions; an authority has none.
	HasBlocks bool
	// memo, contractKey, policyKey and signatureKey say what the one anchor of an event receipt holds.
	memo, contractKey, policyKey, signatureKey string
}

var schemes = map[string]Scheme{
	"btc": {
		chain: "BTC", txScheme: "btc", evidence: "btc", txRef: regexp.MustCompile(`\A[0-9a-f]{64}\z`),
		rank: 0, HasBlocks: true, memo: "OP_RETURN:RV+sha256",
	},
	"eip155": {
		chain: "EVM", txScheme: "evm", evidence: "evm", txRef: regexp.MustCompile(`\A0x[0-9a-f]{64}\z`),
		rank: 1, HasBlocks: true, contractKey: "contract",
	},
	"rfc3161": {
		chain: "TSA", txScheme: "tsa", evidence: "rfc3161", txRef: regexp.MustCompile(`\Aserial:[0-9a-f]+\z`),
		rank: 2, policyKey: "policyOID", signatureKey: "token",
	},
}

// Status and state of a receipt's anchor.
const (
	verified  = "verified"
	finalized = "finalized"
)

// allowed are the pairs of status and state that there are.
var allowed = map[[2]string]bool{
	{verified, "observed"}: true, {verified, finalized}: true, {"reorged", "reorged"}: true, {"failed", "observed"}: true,
}

// Receipt is VaultMesh's record of one batch's anchor on one ledger.
type Receipt struct {
	Root                         Root
	Network                      Target
	TxRef                        string
	BlockNumber                  *big.Int
	AnchorTs                     Instant
	Status, State                string
	ObservedDepth, RequiredDepth *big.Int
	// Aggregation is nil where the batch root itself was committed.
	Aggregation *Inclusion
	// Evidence is the scheme's own part.
	Evidence                  *strictjson.Value
	Namespace, BatchID, Round string
	Scheme                    Scheme
}

func readReceipt(value *strictjson.Value, place string) (*Receipt, error) {
	var err error
	read := newObject(value, place, &err)
	read.constant("version", "1", true)
	receipt := &Receipt{
		Root:        read.receiptRoot("root"),
		Network:     read.target("network"),
		TxRef:       read.text("txRef"),
		BlockNumber: read.count("blockNumber", 0),
		AnchorTs:    read.instant("anchorTs"),
		Status:      read.text("status"),
	}
	chain, txScheme, txHash := read.text("chain"), read.text("txScheme"), read.nullable("txHash")
	read.instant("observedAt")
	read.name("verifier")
	receipt.readFinality(newObject(read.member("finality"), place+".finality", &err))
	receipt.readMetadata(newObject(read.member("metadata"), place+".metadata", &err))
	evidence := newObject(read.member("evidence"), place+".evidence", &err)
	read.closed()
	if err != nil {
		return nil, err
	}
	if err := receipt.requireForm(chain, txScheme, txHash); err != nil {
		return nil, fmt.Errorf("%s: %w", place, err)
	}
	return receipt, receipt.readEvidence(evidence)
}

func (receipt *Receipt) readFinality(read *object) {
	receipt.ObservedDepth = read.count("observedDepth", 0)
	receipt.RequiredDepth = read.count("requiredDepth", 0)
	receipt.State = read.text("state")
	read.closed()
}

func (receipt *Receipt) readMetadata(read *object) {
	receipt.Namespace = read.name("namespace")
	receipt.BatchID = read.name("batchId")
	read.text("cadence")
	read.text("slot")
	receipt.Round = read.name("round")
	read.count("revision", 0)
}

func (receipt *Receipt) readEvidence(read *object) error {
	aggregation := read.member("aggregation")
	receipt.Evidence = read.member(receipt.Scheme.evidence)
	if !receipt.Evidence.Is(strictjson.Object) {
		read.fail(receipt.Scheme.evidence, "is no object")
	}
	read.closed()
	if *read.err != nil || aggregation.Is(strictjson.Null) {
		return *read.err
	}
	inclusion, err := readInclusion(aggregation, read.place+".aggregation")
	receipt.Aggregation = inclusion
	return err
}

func (receipt *Receipt) requireForm(chain, txScheme string, txHash *string) error {
	if !allowed[[2]string{receipt.Status, receipt.State}] {
		return fmt.Errorf("status %q does not go with finality %q", receipt.Status, receipt.State)
	}
	if receipt.State == finalized && receipt.ObservedDepth.Cmp(receipt.RequiredDepth) < 0 {
		return errors.New("finalized, but observedDepth is below requiredDepth")
	}
	scheme, known := schemes[receipt.Network.Scheme]
	if !known {
		return fmt.Errorf("network %s is of no known scheme", receipt.Network)
	}
	receipt.Scheme = scheme
	if chain != scheme.chain || txScheme != scheme.txScheme {
		return fmt.Errorf("%s goes with chain %s and txScheme %s", receipt.Network, scheme.chain, scheme.txScheme)
	}
	if !scheme.txRef.MatchString(receipt.TxRef) {
		return fmt.Errorf("txRef %q is not of the form %s", receipt.TxRef, scheme.txRef)
	}
	if (txHash != nil) != scheme.HasBlocks || (txHash != nil && *txHash != receipt.TxRef) {
		return errors.New("txHash equals txRef, and is absent where there are no transactions")
	}
	counts := receipt.BlockNumber.Sign() + receipt.ObservedDepth.Sign() + receipt.RequiredDepth.Sign()
	if !scheme.HasBlocks && (counts != 0 || receipt.State != finalized) {
		return errors.New("without blocks, height and depths are 0 and the finality is finalized")
	}
	return nil
}

// IsFinal tells whether the anchor is in the ledger for good, as the receipt says.
func (receipt *Receipt) IsFinal() bool {
	return receipt.Status == verified && receipt.State == finalized
}

// EvidenceText returns a text of the scheme's evidence; empty if there is none.
func (receipt *Receipt) EvidenceText(key string) string {
	if value := receipt.Evidence.Get(key); value.Is(strictjson.String) {
		return value.Text
	}
	return ""
}

// Commitment returns what must be in the ledger, following the inclusion proof if there is one.
func (receipt *Receipt) Commitment() (Root, error) {
	inclusion := receipt.Aggregation
	if inclusion == nil {
		return receipt.Root, nil
	}
	leaf := inclusion.Leaf
	if leaf.Root != receipt.Root || leaf.BatchID != receipt.BatchID {
		return Root{}, errors.New("the inclusion proof is for another root or batch than the receipt")
	}
	if leaf.Namespace != "" && leaf.Namespace != receipt.Namespace {
		return Root{}, fmt.Errorf("the inclusion proof is for namespace %q", leaf.Namespace)
	}
	return inclusion.ProvenRoot()
}

// roundID is fixed by what is committed where: 32 hex digits of SHA-256 over tag, target and commitment, each after
// its length.
func roundID(target Target, commitment Root) string {
	digest := sha256.New()
	for _, part := range [][]byte{[]byte("anchor/v1"), []byte(target.String()), commitment[:]} {
		digest.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part))))
		digest.Write(part)
	}
	return hex.EncodeToString(digest.Sum(nil))[:32]
}
