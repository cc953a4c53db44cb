"""Changes a proof's form: how its text is written, which keys it has, and of what type values are.

Each function changes a proof and returns it, as a value or as its text; nothing where it does not apply. A leaf of a
wrong form gets a tree in which its hash is right, for whoever commits may commit anything: the form alone gives it away.
"""

import json
from random import Random
from typing import Any

from tests.second_verifier.changed_values import LEAF_HEX, LEAF_TEXTS, Proof, in_full_tree

Changed = Proof | bytes | None
INTEGERS = ("index", "treeSize")


def text_of(proof: Proof) -> bytes:
    """Return a proof's text."""
    return json.dumps(proof, ensure_ascii=False).encode()


def unchanged(rng: Random, proof: Proof) -> Changed:
    return proof


def other_order(rng: Random, proof: Proof) -> Changed:
    proof["leaf"] = _shuffled(rng, proof["leaf"])
    return _shuffled(rng, proof)


def other_spaces(rng: Random, proof: Proof) -> Changed:
    spaces = rng.choice((" ", "\t", "\r", "  \t\r "))
    separators = (f"{spaces},{spaces}", f"{spaces}:{spaces}")
    text = json.dumps(proof, ensure_ascii=False, separators=separators)
    return f"{spaces}{text}{spaces}".encode()


def escaped_texts(rng: Random, proof: Proof) -> Changed:
    return json.dumps(proof, ensure_ascii=True).replace("/", r"\/").encode()


def every_letter_escaped(rng: Random, proof: Proof) -> Changed:
    """Escapes may be written in either case, and in keys as well."""
    text = text_of(proof).decode()
    for part in ("index", "algorithm", "rfc9162-sha256"):
        units = "".join(rng.choice((f"\\u{ord(one):04x}", f"\\u{ord(one):04X}")) for one in part)
        text = text.replace(f'"{part}"', f'"{units}"', 1)
    return text.encode()


def negative_zero(rng: Random, proof: Proof) -> Changed:
    if proof["index"] != 0:
        return None
    return text_of(_shuffled(rng, proof)).replace(b'"index": 0', b'"index": -0')


def earlier_value_of_a_key(rng: Random, proof: Proof) -> Changed:
    """Of a key that stands there twice, the last value counts."""
    return b'{"index": %d, %s' % (proof["index"] + 1, text_of(proof)[1:])


def other_algorithm(rng: Random, proof: Proof) -> Changed:
    names = ("rfc6962-sha256", "RFC9162-SHA256", "rfc9162-sha512", "rfc9162-sha256 ", "", None, 1)
    proof["algorithm"] = rng.choice(names)
    return proof


def integer_as_something_else(rng: Random, proof: Proof) -> Changed:
    key = rng.choice(INTEGERS)
    n = proof[key]
    forms = ("%d.0", "%d.5", "%de0", '"%d"', "[%d]", "0%d", "+%d", "%d.", "0x%x", "%dn")
    written = rng.choice(forms) % n
    if rng.random() < 0.3:
        written = rng.choice(("true", "false", "null", "NaN", "Infinity", "{}", "1e400"))
    return text_of(proof).replace(b'"%s": %d' % (key.encode(), n), f'"{key}": {written}'.encode())


def other_hex(rng: Random, proof: Proof) -> Changed:
    places: list[tuple[Any, Any]] = [(proof, "root"), *((proof["leaf"], one) for one in LEAF_HEX)]
    holder, key = rng.choice(places)
    if proof["path"] and rng.random() < 0.5:
        holder, key = proof["path"], rng.randrange(len(proof["path"]))
    value: str = holder[key]
    digits = value[2:]
    forms: tuple[object, ...] = (
        digits, f"0X{digits}", f"sha256:{digits}", f"0x{digits[:-1]}", f"0x{digits}0", f"0x{digits}00",
        f"{value}\n", f" {value}", f"{value} ", f"0x{digits[:-1]}g", f"0x{digits[:-1]}\uff11", "0x", "",
        f"0x{digits[:62]}", f"-0x{digits}", None, 7, [value], int(digits, 16), f"0x{digits[:-1]}\0",
    )  # fmt: skip
    changed = rng.choice(forms)
    if rng.random() < 0.3:
        changed = rng.choice((f"0x{digits.upper()}", f"0x{digits[:32]}{digits[32:].upper()}"))
    if changed == value:
        return None
    holder[key] = changed
    return _grown(rng, proof) if holder is proof["leaf"] else proof


def further_key(rng: Random, proof: Proof) -> Changed:
    holder = rng.choice((proof, proof["leaf"]))
    key = rng.choice(("version", "tree_size", "batch_id", "Index", "ROOT", "sides", "", "index\0"))
    holder[key] = rng.choice((None, 0, "x", [], proof["index"]))
    return _grown(rng, proof) if holder is proof["leaf"] and rng.random() < 0.5 else proof


def key_left_out(rng: Random, proof: Proof) -> Changed:
    """A careless reader takes what is missing for empty."""
    holder = rng.choice((proof, proof["leaf"]))
    key = rng.choice(list(holder))
    if holder is proof["leaf"]:
        holder[key] = ""
        proof = _grown(rng, proof)
    del (proof["leaf"] if holder is proof["leaf"] else proof)[key]
    return proof


def key_written_otherwise(rng: Random, proof: Proof) -> Changed:
    """Snake case, another case, and the letter that folds to an s."""
    holder = rng.choice((proof, proof["leaf"]))
    key = rng.choice(list(holder))
    snake = "".join(f"_{one.lower()}" if one.isupper() else one for one in key)
    forms = {
        snake,
        key.upper(),
        key.capitalize(),
        key.lower(),
        key.replace("s", "\u017f"),
        f"{key} ",
    }
    holder[rng.choice(sorted(forms - {key}))] = holder.pop(key)
    return proof


def other_type(rng: Random, proof: Proof) -> Changed:
    """Of a leaf alone in its tree the path is empty, and nothing may stand in its place."""
    key = rng.choice(("leaf", "path"))
    if rng.random() < 0.5:
        proof = in_full_tree(rng, proof, 0)
    value = proof[key]
    proof[key] = rng.choice((None, 0, True, "", [value], {"0": value}, {}, [None], [[]]))
    return proof


def other_type_in_the_leaf(rng: Random, proof: Proof) -> Changed:
    """A careless reader takes a value for the text that it would be."""
    value, text = rng.choice(
        ((None, ""), (None, "null"), (7, "7"), (1.5, "1.5"), (True, "true"), ([], ""), ({}, "{}"))
    )
    key = rng.choice(LEAF_TEXTS)
    proof["leaf"][key] = text
    proof = _grown(rng, proof)
    proof["leaf"][key] = value
    return proof


def later_value_of_a_key(rng: Random, proof: Proof) -> Changed:
    return b'%s, "index": %d}' % (text_of(proof)[:-1], proof["index"] + 1)


def damaged_text(rng: Random, proof: Proof) -> Changed:
    text = text_of(proof)
    damages = (
        lambda: text[: rng.randrange(len(text))],
        lambda: text + rng.choice((b"x", b"{}", b"]", b"}", b",", b"\0", b" 0")),
        lambda: b"\xef\xbb\xbf" + text,
        lambda: text[:-1] + b",}",
        lambda: text.replace(b"]", b",]", 1),
        lambda: text.replace(b'"', b"'"),
        lambda: b"/* */" + text,
        lambda: b"[" + text + b"]",
        lambda: rng.choice((b"", b" ", b"null", b"0", b"[]", b'""', b"{}", b"true", b"[" * 5000)),
        lambda: text[:-1] + b', "x": ' + b"[" * 3000 + b"]" * 3000 + b"}",
    )
    return rng.choice(damages)()


def no_text(rng: Random, proof: Proof) -> Changed:
    """Halves of surrogate pairs, and bytes that are no UTF-8; careless parsers mend them, each to what it is here."""
    key, (written, mended) = rng.choice(LEAF_TEXTS), rng.choice(_MENDED)
    proof["leaf"][key] = mended
    proof = _grown(rng, proof)
    proof["leaf"][key] = "@@"
    return text_of(proof).replace(b"@@", written)


_MENDED = (
    (rb"\ud800", "\ufffd"), (rb"\udc00", "\ufffd"), (rb"\ud83dx", "\ufffdx"), (rb"\ud83d\n", "\ufffd\n"),
    (rb"\ud83d\ud83d", "\ufffd\ufffd"), (rb"\ude00\ud83d", "\ufffd\ufffd"), (rb"\ud83d\u0041", "\ufffdA"),
    (rb"\ud83d\ud83d\ude00", "\ufffd\U0001f600"), (rb"\x41", "A"), (rb"\U00000041", "A"), (rb"\41", "!"), (rb"\a", "a"),
    (rb"\u12", "\x12"), (b"\xff", "\ufffd"), (b"\xc0\x80", "\ufffd\ufffd"), (b"\xc0\x80", "\0"),
    (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"), (b"\xed\xa0\x80", "\ufffd"), (b"\xed\xa0\xbd\xed\xb8\x80", "\U0001f600"),
    (b"\xf4\x90\x80\x80", "\ufffd" * 4), (b"\xe2\x82", "\ufffd"), (b"\xe2\x82", "\ufffd\ufffd"),
    (b"\t", "\t"), (b"\x1f", "\x1f"), (b"\0", "\0"),
)  # fmt: skip
"""What is written, and what a careless parser makes of it."""


def _grown(rng: Random, proof: Proof) -> Proof:
    return in_full_tree(rng, proof, rng.randrange(9))


def _shuffled(rng: Random, members: dict[str, Any]) -> dict[str, Any]:
    keys = list(members)
    rng.shuffle(keys)
    return {key: members[key] for key in keys}
