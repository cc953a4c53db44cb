"""Blocks and transactions of public chains, as their nodes show them. Every hash in here fixes what stands beside it.

| name | what it is | where it was published |
|---|---|---|
| OP_STACK_274 | block 274 of a chain of the OP stack (2024-02-24, since Canyon), with its one deposit | tests of batches in the Rust crate `ethrpc` |
| MEGAETH_11603812 | a header of the OP stack since Isthmus and Holocene | MegaETH's documentation of `eth_getHeaderByHash` |
| BASE_50543461 | a header of Base since Jovian: `extraData` of 17 bytes | printed by `cast block` of `https://mainnet.base.org`, 2026-08-28 |
| PRAGUE_191, AMSTERDAM_192 | headers before and after the fork, of a Kurtosis network of reth | tests of a light client in Rust, `ExecutionHeader` |
| MEGAETH_DEPOSIT | the deposit at the head of block 1048576, since Ecotone | MegaETH's documentation of `eth_getBlockByHash` |
| CELO_CIP64 | a transaction that pays its fee in another currency, and its receipt without logs | tests of `TxCip64` in Celo's crates for alloy |
| ARBITRUM_58989000 | a header of Arbitrum One, which lacks what came after London | tests of an indexer in Go, `TestArbitrumHeader` |
| ARBITRUM_INTERNAL | the transaction that every block of Arbitrum begins with | Arbitrum One, block 0xc000000 |
"""

from pydantic import JsonValue

Shown = dict[str, JsonValue]

NO_BLOOM = "0x" + "00" * 256
NO_UNCLES = "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347"
NO_ENTRIES = "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421"
NO_REQUESTS = "0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_NO_NONCE = "0x0000000000000000"
_SEQUENCER = "0x4200000000000000000000000000000000000011"
_L1_BLOCK = "0x4200000000000000000000000000000000000015"
_DEPOSITOR = "0xdeaddeaddeaddeaddeaddeaddeaddeaddead0001"

OP_STACK_274: Shown = {
    "baseFeePerGas": "0x1418f329",
    "difficulty": "0x0",
    "extraData": "0x",
    "gasLimit": "0x1c9c380",
    "gasUsed": "0xb76d",
    "hash": "0xfc70e073ec6e1bb7f387698e4be418d7b1ff2216f625cdf41e1b80fb08029ef5",
    "logsBloom": NO_BLOOM,
    "miner": _SEQUENCER,
    "mixHash": "0x8bc8a48326d9309959f2452206c1c842be9fcc9840c789845caab9d290a9700c",
    "nonce": _NO_NONCE,
    "number": "0x112",
    "parentHash": "0xcfbc479d5f63476538db9ff15295167a6e91ecc9d6cf54be471eded689c251c9",
    "receiptsRoot": "0x8c303881b3e408cc739f55ef3e5133075d552cbec9ee987aff6b71f58cf291ee",
    "sha3Uncles": NO_UNCLES,
    "stateRoot": "0x86be45fb7a22b8c12cbce8d538372b800377cc589de590b6d88f5f65dde97df8",
    "timestamp": "0x65da607b",
    "transactions": [
        {
            "from": _DEPOSITOR,
            "gas": "0xf4240",
            "gasPrice": "0x0",
            "hash": "0x13a644af4f64ce801dcd57faa823e8952f2290b810fdd31995dda62977ed3df1",
            "input": "0x015d8eb9"
            "0000000000000000000000000000000000000000000000000000000001267f33"
            "0000000000000000000000000000000000000000000000000000000065da6073"
            "000000000000000000000000000000000000000000000000000000075d3f8610"
            "97c24796a4f639846a6a3ea3a59c11de8d89e11f551bae8feca9271a78926d42"
            "0000000000000000000000000000000000000000000000000000000000000004"
            "000000000000000000000000415c8893d514f9bc5211d36eeda4183226b84aa7"
            "00000000000000000000000000000000000000000000000000000000000000bc"
            "00000000000000000000000000000000000000000000000000000000000a6fe0",
            "nonce": "0x111",
            "to": _L1_BLOCK,
            "value": "0x0",
            "type": "0x7e",
            "v": "0x0",
            "r": "0x0",
            "s": "0x0",
            "sourceHash": "0x5a1b66228a26547e2ce6fe1aa734d2c34e062e42ccd5710463e6987890f1ad5d",
            "mint": "0x0",
            "depositReceiptVersion": "0x1",
        }
    ],
    "transactionsRoot": "0xb01a2ad2c1ceb76f2edcdc02f2e0453c52e24c421fb04132cdfc0da5b70a593e",
    "withdrawalsRoot": NO_ENTRIES,
}
OP_STACK_274_RECEIPT: Shown = {
    "type": "0x7e",
    "status": "0x1",
    "cumulativeGasUsed": "0xb76d",
    "logsBloom": NO_BLOOM,
    "logs": [],
    "depositNonce": "0x111",
    "depositReceiptVersion": "0x1",
}
"""What the block says of its one transaction: its nonce, all the gas of the block, no logs; the root in the header proves it."""

MEGAETH_11603812: Shown = {
    "hash": "0x6f3fcff78eefe9591d2ad590b8a78738b8ad80d9646eccd302618cd9198b73e0",
    "parentHash": "0x6b6b52368c21dcdba7348fa37edae3e945013627a83a96b64d55217696899d30",
    "sha3Uncles": NO_UNCLES,
    "miner": _SEQUENCER,
    "stateRoot": "0xf328fa2752aea1c211a73067d17c25d09a416b4b6a7785441f39bcc930028717",
    "transactionsRoot": "0xeb022b6dbe9f4c52a4f2099eba8e693f72c171be2eb64be0e75cb90a98dc9b48",
    "receiptsRoot": "0x0424bde5ec87be8a069011f8f73ad60ecf6b1b5c328e4e762f9dec3a7cba0fab",
    "logsBloom": "0x20000004002004400000000000000080000000000001400000000008000000200400000002000000"
    "000100000010020800000000000800000000000000000800000000000000000000000008000000000000000800010020"
    "004000000000000008000002020a000000004000a0020800000002000400010004020012001000200010000400000000"
    "000000000000020000000000000000000000000002400080800020000008000000000000000000020000002020100220"
    "002000030000010000000022001000000000000000000000000000c08200000000000000000020000000010000000001"
    "000110000000000400200010002400000200000000010000",
    "difficulty": "0x0",
    "number": "0xb10f64",
    "gasLimit": "0x2540be400",
    "gasUsed": "0x721dd7",
    "timestamp": "0x69c33537",
    "extraData": "0x00000000fa00000001",
    "mixHash": "0x8bfe2d726b8e0668a43c61c347aad9a183f4341adafb14a0412433d0ecd49bdb",
    "nonce": _NO_NONCE,
    "baseFeePerGas": "0xf4240",
    "withdrawalsRoot": "0x5d35e62744505d3ba8a9b955b70685a30041f513c12fd3a40e109cf294aa899f",
    "blobGasUsed": "0x0",
    "excessBlobGas": "0x0",
    "parentBeaconBlockRoot": "0x925f2e7ead0cc2dd30253ed7c9b2c14a5fa58cb22501044a9e123a54174d0cc6",
    "requestsHash": NO_REQUESTS,
}

BASE_50543461: Shown = {
    "baseFeePerGas": "0x4c4b40",
    "blobGasUsed": "0x4759dc",
    "difficulty": "0x0",
    "excessBlobGas": "0x0",
    "extraData": "0x01000000640000000500000000004c4b40",
    "gasLimit": "0x17d78400",
    "gasUsed": "0x1c9d4c4",
    "hash": "0xbcfeea73187d6525160e26d8aca232a4e6a2602f05f3c55f14047aa55ebb1963",
    "logsBloom": "0xddf9f34f8727547000b65512936a59f0d97dc7612d2ae8f0a30d9e7731206c4d05aa5d409963a9bf"
    "47834fdded4ff6c847f2ec32e565252df7e20f96ebbf71b654db8f9409f70c3ede35681d80a977fc21c8bd44966dd8f6"
    "59e268eefd6fbf8c3bd7d0e9dabe9bb76f45eb30a68fee3ac16e7e174b4d3d96bbcf8ffbb87e3120f1ac5a1a7f0afda8"
    "6aeeb65ceb95a22e63a5d6d3fc35d85c728acc4e14a43ae0b3487efdf34957bc5b7439d21012a5ebbf9d43fbf51a35ab"
    "c95f5ba9686fc397ef8c5a3fe1cbfc51d3f5fcdcf476d8e1df5fd37eddf86efee8eaaedad912ebad4b5e2e6d6716436a"
    "fe4c4470b983bfe737aff6e3dfeb67d61f16be4437079eec",
    "miner": _SEQUENCER,
    "mixHash": "0x9ade4de5b4d1dff6a5e7a01cea11449e2941e98adb58016d6d32b3cf6e1d4659",
    "nonce": _NO_NONCE,
    "number": "0x3033b65",
    "parentBeaconBlockRoot": "0x95249e5f7c34dee7206d6a2737061ee0f2fd1925be865488f18b48a82d117954",
    "parentHash": "0xa877d9c7ad68b29a880e69472a5ae3f9f2dbb5969c371840611a4c64cf0ea4c3",
    "receiptsRoot": "0xe7d3789f7762971311608f5aba835dbde60f7c054265f284d27a348f3d5a88ae",
    "requestsHash": NO_REQUESTS,
    "sha3Uncles": NO_UNCLES,
    "stateRoot": "0xda41af4a32ec256dc47990ff02b0a50d71c5751bc354d89f57c695ea1636f20b",
    "timestamp": "0x6a90d3ad",
    "transactionsRoot": "0x89c4bcb7a8ffbec83fd914fa6191ce804a26069ccd8b1c868fdcf684851fdcaf",
    "withdrawalsRoot": "0x06c5e4eb5d0f6435617c603bafcf9fc1d52af39cf52ae11fe8d55e124a335103",
}

ARBITRUM_58989000: Shown = {
    "baseFeePerGas": "0x5f5e100",
    "difficulty": "0x1",
    "extraData": "0x03e15cc0fcd490292c1a397e7dabe1be29b542724014f8f7fba09684e742b8e9",
    "gasLimit": "0x4000000000000",
    "gasUsed": "0x84ecf",
    "hash": "0x63dea9d1cb52bf934361a70f3abb6cdc29a069c029ee1e85b9b4675eb031beb1",
    "l1BlockNumber": "0xfd03cd",
    "logsBloom": "0x00000000000000000000000000000100000000000000000000000000000000000000000000000000"
    "000000000000000000000000000000000000000000000000000010080000000000000008000000000000000000000000"
    "000000000000000000000000000200000000000000000000000000000000000000000090000000000000000000000000"
    "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
    "000000000000000000008002000000000004000000008000000000000000000000000000000000000000000000000000"
    "000000000000000010000000000000000000000000000000",
    "miner": "0xa4b000000000000000000073657175656e636572",
    "mixHash": "0x000000000000a8130000000000fd03cd000000000000000a0000000000000000",
    "nonce": "0x0000000000071524",
    "number": "0x38419c8",
    "parentHash": "0xdcbace1f08a30fae90c7d55ebc7ab5c3632fa565fdd4225f4c979773ba4ec0b4",
    "receiptsRoot": "0xe8aa82c2af165dd98906f42ce3a9a70d3698a59d5d6f47ecd4aaf9636c5f9994",
    "sendCount": "0xa813",
    "sendRoot": "0x03e15cc0fcd490292c1a397e7dabe1be29b542724014f8f7fba09684e742b8e9",
    "sha3Uncles": NO_UNCLES,
    "stateRoot": "0x79935470ac28e851cf10772881353c904c5413a9c8a9074776edbd4afed2fb37",
    "timestamp": "0x63e3208d",
    "transactionsRoot": "0x8c64eae012c6370072bce73fa3c2e15a01e36354b47dacb4217a32e4ef8b73ce",
}

_KURTOSIS: Shown = {
    "baseFeePerGas": "0x7",
    "blobGasUsed": "0x0",
    "difficulty": "0x0",
    "excessBlobGas": "0x0",
    "extraData": "0x726574682f76322e372e302f6c696e7578",
    "gasLimit": "0xbebc200",
    "gasUsed": "0x0",
    "logsBloom": NO_BLOOM,
    "miner": "0x8943545177806ed17b9f23f0a21ee5948ecaa776",
    "nonce": _NO_NONCE,
    "receiptsRoot": NO_ENTRIES,
    "requestsHash": NO_REQUESTS,
    "sha3Uncles": NO_UNCLES,
    "transactionsRoot": NO_ENTRIES,
    "withdrawalsRoot": NO_ENTRIES,
}
PRAGUE_191: Shown = _KURTOSIS | {
    "hash": "0x2648510bb7819909b36373a3a2ccda82a51a0c8b154d03ff7710ef8d64b689e6",
    "mixHash": "0x879d6ebf21224bb92a05f0c4d50a2823ae85c1bfda76dd171381184d6f4070c5",
    "number": "0xbf",
    "parentBeaconBlockRoot": "0x9bdd621d2614dc45107bc9f80a2221de691a899d7740569523c6e0cc24f4ffd6",
    "parentHash": "0x74f90ca1c71db6591cc4510eb6e831bdf7fcc7beabcdcbfaa1e7cb0788840153",
    "stateRoot": "0xd430244510b470423f038afbfb318f1e8b458357727dd4959845e6b0182fbae8",
    "timestamp": "0x6abd0dc7",
}
AMSTERDAM_192: Shown = _KURTOSIS | {
    "blockAccessListHash": "0x1d33a17375e8dd0aef5da65c3f51422043f1c40d52eceaaca238cc92501aa32e",
    "hash": "0x86e1583ca604ce5de648b44c41fb309b8dfe72ab21b57ad9f12eb0d92ac991f8",
    "mixHash": "0x27184df4d2e2182675a2310a546d32e0d74a7accd4fbeafa84a903cd489dd40c",
    "number": "0xc0",
    "parentBeaconBlockRoot": "0x1214de134cf32c261ff3c2b6f96435016e9b98bf7dcd4870ad0009a2acf79974",
    "parentHash": PRAGUE_191["hash"],
    "slotNumber": "0xc0",
    "stateRoot": "0x2338ab0cb5b76db31251fc2352e9142fd8b2bf19de6ac4a3c201b84d6ba737d3",
    "timestamp": "0x6abd0dcb",
}

MEGAETH_DEPOSIT: Shown = {
    "type": "0x7e",
    "sourceHash": "0x79ab34de993de378f15eafd864cab321ca382dc65b7aa82d0cc10618e68041e6",
    "from": _DEPOSITOR,
    "to": _L1_BLOCK,
    "mint": "0x0",
    "value": "0x0",
    "gas": "0x5f5e100",
    "input": "0x098999be00000558000c5fc500000000000000530000000069222257"
    "00000000016c0746000000000000000000000000000000000000000000000000"
    "0000000004157764000000000000000000000000000000000000000000000000"
    "0000000000000001f7c63d3b8cb8f194b5ac53452faf9f8c0d14f790e43e85a1"
    "2558906bbe6a5adf000000000000000000000000b98c6b1a805b96707a43e1f1"
    "acfa163b68098fa6000000000000000000000000",
    "hash": "0x243d39c7f6cd74a9a081a6fe4bdfce37ac6136b9454691aeeb9ed77998450cbc",
    "depositReceiptVersion": "0x1",
    "gasPrice": "0x0",
    "nonce": "0xfffff",
}

CELO_CIP64: Shown = {
    "hash": "0x2499b178a0e54fb856354bb53c9cb0fe2d1f70b2e6c876f6470e7a6e5090f3ac",
    "nonce": "0x705",
    "from": "0xefe945ee33ce4ab037ff4d1e1384d0efcd95f37b",
    "to": "0x7a1e295c4babdf229776680c93ed0f73d069abc0",
    "value": "0x0",
    "gasPrice": "0x1ae0426f1",
    "gas": "0x3644c",
    "maxFeePerGas": "0x26442dbed",
    "maxPriorityFeePerGas": "0x4d7ee",
    "input": "0xcac35c7a290decd9548b62a8d60345a988386fc84ba6bc95484008f6362f93160ef3e563",
    "r": "0xaa0cfaa3df893578b3504062b862428f0e4a94046370cf2a4fd6c392c0760dd8",
    "s": "0x1337d022bbb8faed78a9707e6c38d51f575816e7f85aa540f3d37a9081c58a71",
    "v": "0x0",
    "yParity": "0x0",
    "chainId": "0xa4ec",
    "accessList": [],
    "type": "0x7b",
    "feeCurrency": "0x2f25deb3848c207fc8e0c34035b3ba7fc157602b",
}
CELO_CIP64_RECEIPT: Shown = {
    "status": "0x1",
    "cumulativeGasUsed": "0x13fa23",
    "logsBloom": NO_BLOOM,
    "logs": [],
    "type": "0x7b",
    "baseFee": "0x1adff4f03",
}

ARBITRUM_INTERNAL: Shown = {
    "type": "0x6a",
    "chainId": "0xa4b1",
    "hash": "0x431a1c991fe68597f472ddd6e675570b5e1e0825ea90da5195709658e77bfede",
    "input": "0x6bf6a42d"
    "0000000000000000000000000000000000000000000000000000000000000000"
    "00000000000000000000000000000000000000000000000000000000012c04c1"
    "000000000000000000000000000000000000000000000000000000000c000000"
    "0000000000000000000000000000000000000000000000000000000000000000",
}
