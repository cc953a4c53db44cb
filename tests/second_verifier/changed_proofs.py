"""Changes real proofs: one value somewhere, the form of one, the receipts among each other, or bytes of the text."""

import copy
from collections.abc import Iterator
from contextlib import suppress
from random import Random
from typing import Any

from tests.second_verifier.real_proofs import Document, real_proofs, scheme_of, set_network
from tests.second_verifier.written import Members, Raw, written

Way = tuple[Any, ...]
WORDS = (
    *("verified", "reorged", "failed", "observed", "finalized", "vm:internal", "vaultmesh-proof", "1", "2", ""),
    *("eip155:31337", "eip155:031337", "eip155:x", "btc:regtest", "btc:mainnet", "btc:signet", "rfc3161:tsa", "x:y"),
    *("2026-11-28T17:28:07Z", "1969-12-31T23:59:59Z", "2026-11-28T24:00:00Z", "9999-12-31T23:59:59.999999Z"),
    *("2026-11-28T17:28:07.100000Z", "2026-11-28T17:28:07+00:00", "2026-02-29T00:00:00Z", "0x", "0x00"),
)  # fmt: skip
NUMBERS = (
    *("NaN", "-Infinity", "Infinity", "-NaN", "1.0", "1e0", "1E400", "-0", "0.0", "00", "+1", "1.", ".5", "1e", "1_0"),
    *("true", "null", '"1"', "[1]", "1" * 4300, "1" * 4301, "-" + "1" * 4300, "0." + "1" * 4400, "2e99999999999"),
)  # fmt: skip
STRINGS = (
    *(
        r"\ud800",
        r"\ud83d\ude00",
        r"\u0000",
        r"\u00E9",
        r"\/",
        r"\x",
        "\t",
        "\x7f",
        "\u2028",
        "\U0010ffff",
        r"\u12",
    ),
    *(r"\udc00\ud800", r"\b\f\n\r\t", r"\\", r"\"", "\\"),
)
LISTED = ("receiptProof", "transactionProof", "merkleBranch", "coinbaseBranch", "headers", "path")
DEPTHS = (1, 5, 60, 190, 195, 196, 197, 198, 199, 200, 201, 202, 203, 1000)
HEX = "0123456789abcdef"


def ways(value: object, *way: Any) -> Iterator[Way]:
    """Yield the way to every value of a document, its own included."""
    yield way
    members = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value if isinstance(value, list) else ())
    )
    for key, item in members:
        yield from ways(item, *way, key)


def at(document: Any, way: Way) -> Any:
    """Return the value at a place."""
    for key in way:
        document = document[key]
    return document


def put(document: Any, way: Way, value: object) -> Any:
    """Put a value at a place; at the top, return it."""
    if not way:
        return value
    at(document, way[:-1])[way[-1]] = value
    return document


def some_way(rng: Random, document: Document) -> Way:
    """Return a place; each part of a document is as likely as any other, however many values it has."""
    way: Way = ()
    value: Any = document
    while isinstance(value, (dict, list)) and value and (not way or rng.random() < 0.85):
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        way, value = (*way, key), value[key]
    return way


def other_value(rng: Random, document: Document) -> Document:
    """Change one value, and keep its type."""
    way = some_way(rng, document)
    value = at(document, way)
    if isinstance(value, str):
        return put(document, way, _other_text(rng, value, document))
    if isinstance(value, bool) or value is None:
        return put(document, way, not value)
    if isinstance(value, int):
        return put(document, way, _other_number(rng, value))
    if isinstance(value, list):
        return put(document, way, _other_list(rng, value))
    return other_keys(rng, document)


def other_letter_of_hex(rng: Random, document: Document) -> Document:
    """Change one hex digit somewhere: what is hashed or compared must show it."""
    texts = [
        way
        for way in ways(document)
        if isinstance(at(document, way), str) and len(at(document, way)) >= 40
    ]
    way = rng.choice(texts)
    text: str = at(document, way)
    place = rng.randrange(2, len(text))
    return put(document, way, text[:place] + rng.choice(HEX) + text[place + 1 :])


def other_form(rng: Random, document: Document) -> Document:
    """Put something of another type, or something that is hard to read."""
    way = some_way(rng, document)
    depth = rng.choice(DEPTHS)
    opened, closed = rng.choice((("[", "]"), ('{"a":', "}")))
    filling = rng.choice(("", "0", "{}", "[]")) if opened == "[" else rng.choice(("0", "{}", "[]"))
    choices: tuple[object, ...] = (
        None, 0, -1, True, "", [], {}, [[]], {"": 0},
        Raw(rng.choice(NUMBERS)), Raw(rng.choice(NUMBERS)), Raw(f'"{rng.choice(STRINGS)}"'),
        Raw(opened * depth + filling + closed * depth),
    )  # fmt: skip
    return put(document, way, rng.choice(choices))


def other_keys(rng: Random, document: Document) -> Document:
    """Leave a key out, add one, write one otherwise, or write it twice."""
    objects = [
        way for way in ways(document) if isinstance(at(document, way), dict) and at(document, way)
    ]
    way = rng.choice(objects)
    members: dict[str, Any] = dict(at(document, way))
    key = rng.choice(list(members))
    match rng.randrange(5):
        case 0:
            del members[key]
        case 1:
            members[
                rng.choice(
                    ("x", "", "version", "tx_ref", "Root", "header", "proofMissing", "format")
                )
            ] = rng.choice((None, 0, "x", [], {"a": Raw("NaN")}))
        case 2:
            snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in key)
            members[rng.choice((snake, key.upper(), key.lower(), f"{key} "))] = members.pop(key)
        case 3:
            other = rng.choice((None, 0, members[key], _other_text(rng, "x", document)))
            pairs = (
                [*members.items(), (key, other)]
                if rng.random() < 0.5
                else [(key, other), *members.items()]
            )
            return put(document, way, Members(pairs))
        case _:
            keys = rng.sample(list(members), len(members))
            members = {name: members[name] for name in keys}
    return put(document, way, members)


def transplanted(rng: Random, document: Document) -> Document:
    """Take a part of another proof; so each piece is right by itself."""
    _, other = rng.choice(real_proofs())
    way = some_way(rng, document)
    try:
        return put(document, way, copy.deepcopy(at(other, way)))
    except (KeyError, IndexError, TypeError):
        return put(document, way, copy.deepcopy(at(document, some_way(rng, document))))


def other_receipts(rng: Random, document: Document) -> Document:
    """Leave receipts out, repeat them, order them otherwise, or take some of another batch."""
    if "anchors" not in document:
        return document
    _, other = rng.choice(real_proofs())
    known = [*document["anchors"], *copy.deepcopy(other.get("anchors", []))]
    count = rng.randrange(0, 5)
    document["anchors"] = [copy.deepcopy(rng.choice(known)) for _ in range(count)]
    return document


def other_state(rng: Random, document: Document) -> Document:
    """Say something else of finality, depth, network or round, in a form that may be."""
    anchor = rng.choice(document.get("anchors") or [document])
    match rng.randrange(5):
        case 0:
            pairs = (
                ("verified", "observed"),
                ("verified", "finalized"),
                ("reorged", "reorged"),
                ("failed", "observed"),
            )
            anchor["status"], anchor["finality"]["state"] = rng.choice(pairs)
        case 1:
            anchor["finality"]["requiredDepth"] = rng.choice((0, 1, 5, 6, 7, 12, 10**30))
            anchor["finality"]["observedDepth"] = rng.choice((0, 6, 7, 10**30))
        case 2:
            names = {
                "btc": ("mainnet", "testnet", "signet", "other"),
                "eip155": ("1", "0031337", "137", "x.y"),
            }
            scheme = scheme_of(anchor)
            if scheme in names:
                set_network(anchor, f"{scheme}:{rng.choice(names[scheme])}")
        case 3:
            anchor["metadata"]["namespace"] = rng.choice(
                ("", "dao:vaultmesh", "fin:clearing", "other")
            )
        case _:
            evidence = anchor["evidence"].get("evm", {})
            for key in rng.sample(
                ("header", "transactionIndex", "receiptProof", "transactionProof"),
                rng.randrange(1, 5),
            ):
                evidence.pop(key, None)
            evidence["proofMissing"] = rng.choice(("no block", "\x1b[2Jproven", 7, None, "ж" * 400))
    return document


def other_event_anchor(rng: Random, document: Document) -> Document:
    """Name another anchor in the event receipt: a true one, nearly a true one, or the sealer's."""
    if "event" not in document:
        return document
    anchor = rng.choice(document["anchors"])
    seconds = {"2026-11-28T17:28:07Z": 1795886887}
    evidence = anchor["evidence"].get("evm") or anchor["evidence"].get("rfc3161") or {}
    named = dict(document["event"]["anchor"])
    if rng.random() < 0.3:
        named = {
            "chain": "vm:internal",
            "tx": f"batch:{anchor['metadata']['batchId']}",
            "block": 0,
            "ts": 1,
        }
    else:
        named |= {"chain": anchor["network"], "tx": anchor["txRef"], "block": anchor["blockNumber"]}
        named["ts"] = seconds.get(anchor["anchorTs"], named["ts"])
        named["contract"], named["memo"] = (
            evidence.get("contract"),
            rng.choice(("", None, "OP_RETURN:RV+sha256")),
        )
    if rng.random() < 0.4:
        named[rng.choice(list(named))] = rng.choice((None, "", 0, 1, -1, "x", 10**20))
    if rng.random() < 0.1:
        named["further"] = None
    document["event"]["anchor"] = named
    return document


def other_nodes(rng: Random, document: Document) -> Document:
    """Leave out, repeat, add or order otherwise what a proof lists: nodes, branches, headers, siblings."""
    lists = [
        way for way in ways(document) if isinstance(at(document, way), list) and way[-1] in LISTED
    ]
    if not lists:
        return document
    way = rng.choice(lists)
    items = at(document, way)
    if rng.random() < 0.3:
        items = [*items, rng.choice(("0x80", "0xc0", "11" * 32, "sha256:" + "22" * 32, *items))]
    return put(document, way, items if items != at(document, way) else _other_list(rng, items))


def several(rng: Random, document: Document) -> Document:
    """Change two or three things, as far as each leaves the next one something to change."""
    changes = (
        other_value,
        transplanted,
        other_state,
        other_receipts,
        other_event_anchor,
        other_keys,
    )
    with suppress(KeyError, IndexError, TypeError, ValueError, AttributeError):
        for change in rng.sample(changes, rng.choice((2, 3))):
            document = change(rng, copy.deepcopy(document))
    return document


def other_bytes(rng: Random, document: Document) -> bytes:
    """Change bytes of the text: flip, leave out, repeat, put in, or cut."""
    text = bytearray(written(document).encode())
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        place, length = rng.randrange(len(text)), rng.randrange(1, 9)
        match rng.randrange(6):
            case 0:
                text[place] ^= 1 << rng.randrange(8)
            case 1:
                del text[place : place + length]
            case 2:
                text[place:place] = text[place : place + length]
            case 3:
                text[place:place] = rng.choice(
                    (b"0", b'"', b"\\", b",", b"{", b"}", b"[", b"]", b":", b" ", b"\xc3", b"\0")
                )
            case 4:
                text[place] = rng.randrange(256)
            case _:
                text = text[: max(1, place)] if rng.random() < 0.2 else text
    return bytes(text).replace(b"\n", b"\r")


def _other_text(rng: Random, text: str, document: Document) -> str:
    place, cut = rng.randrange(len(text) + 1), rng.randrange(9)
    letter = rng.choice(("0", "a", " ", "\0", "é", "\u0661", "\n", "Z", "ſ", "\u212a"))
    texts = [at(document, way) for way in ways(document) if isinstance(at(document, way), str)]
    choices: tuple[str, ...] = (
        text[:place] + letter + text[place + 1 :],
        text[:place] + text[place + 1 :],
        text + rng.choice(("0", "00", " ", "\n", "a", "\u0301", "\0")),
        rng.choice((text.upper(), text.lower(), text.swapcase(), text.title())),
        rng.choice(WORDS),
        rng.choice(texts or [""]),
        text.replace("0x", rng.choice(("", "0X", "sha256:", "SHA256:", "ſha256:")), 1),
        text.replace("sha256:", rng.choice(("", "0x", "sHA256:", "SHA256:", "ſha256:")), 1),
        text[: len(text) - cut],
    )
    return rng.choice(choices)


def _other_number(rng: Random, number: int) -> object:
    choices = (
        number + 1,
        number - 1,
        0,
        -1,
        number ^ 1 << rng.randrange(9),
        2**31,
        2**63,
        2**64,
        2**256,
        10**400,
    )
    return rng.choice((*choices, Raw(rng.choice(NUMBERS))))


def _other_list(rng: Random, items: list[Any]) -> list[Any]:
    items = copy.deepcopy(items)
    place = rng.randrange(len(items) + 1)
    match rng.randrange(6):
        case 0:
            return items[:place] + items[place + 1 :]
        case 1:
            return [*items[: place + 1], *items[place:]]
        case 2:
            return rng.sample(items, len(items))
        case 3:
            return []
        case 4:
            return items * rng.choice((2, 4, 9, 22, 66)) if len(str(items)) < 4_000 else items[::-1]
        case _:
            items.insert(place, rng.choice((None, 0, "", "0x", [], "0x" + "11" * 32, "22" * 32)))
            return items
