"""Values in DER as trees that can be changed anywhere and written again; also inside octets that hold further values."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random

from asn1crypto import algos, core, parser

_OCTETS, _BITS = 4, 3
_TAGS = (1, 2, 3, 4, 5, 6, 10, 12, 16, 17, 19, 22, 23, 24, 30)
_SNIPPETS = tuple(
    bytes.fromhex(text)
    for text in ("0500", "010100", "0101ff", "020101", "0201ff", "3000", "3100", "0400", "0c0161", "1300", "a0020500",
                 "06032a0304", "020a00ffffffffffffffff01", "301406082b0601050507030806082b06010505070301",
                 "180f32303236303131353130303030305a", "170d3236303131353130303030305a")
)  # fmt: skip


_OIDS = (
    *algos.SignedDigestAlgorithmId._map, *algos.DigestAlgorithmId._map,
    *(f"2.5.29.{arc}" for arc in (9, 14, 15, 16, 17, 18, 19, 21, 24, 29, 30, 31, 32, 33, 35, 36, 37, 46, 54)),
    *(f"2.5.4.{arc}" for arc in (3, 4, 5, 6, 10, 20, 45, 46, 97)),
    "1.2.840.113549.1.1.8", "1.2.840.10045.2.1", "1.2.840.113549.1.9.1", "1.3.6.1.5.5.7.3.8", "1.3.6.1.5.5.7.3.1",
    "2.5.29.37.0", "1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.10", "1.3.36.3.3.2.8.1.1.7", "1.3.101.110",
    "1.2.840.113549.1.9.16.1.4", "1.2.840.113549.1.7.1", "1.2.840.113549.1.7.2", "1.2.840.113549.1.9.16.2.12",
    "1.2.840.113549.1.9.16.2.47", "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4", "1.2.3.4", "2.999.1",
    "2.16.840.1.101.3.4.3.13", "2.16.840.1.101.3.4.3.14", "2.16.840.1.101.3.4.3.3", "1.3.14.3.2.29",
)  # fmt: skip
_TIMES = tuple(
    text.encode()
    for text in ("20260115100000Z", "202601151000Z", "2026011510Z", "20260115100000.5Z", "20260115100000,123456789Z",
                 "2026011510.5Z", "202601151000.5Z", "20260115100000+0000", "20260115100000-00", "20260115100000+0100",
                 "20260115100000", "20260115100000.9999999Z", "20260115100000.0000005Z", "20260115240000Z", "20260229100000Z",
                 "00000115100000Z", "99991231235959.9999999Z", "260115100000Z", "2601151000Z", "260115100000+0000",
                 "20260115095959Z", "20260115100060Z", "20600115100000Z", "500101000000Z", "491231235959Z", "20260115100000Z\n",
                 "20260115100000.Z", "20160101000000Z", "160101000000Z")
)  # fmt: skip
_NUMBERS = tuple(
    bytes.fromhex(text)
    for text in ("", "00", "01", "02", "03", "7f", "80", "ff", "0080", "0001", "ffff", "0100", "14", "20", "3c", "3d", "15", "05",
                 "00ffffffffffffffffff", "8000000000000000", "00" + "ff" * 20, "01" + "00" * 20, "7f" * 21, "7f" * 22)
)  # fmt: skip


@dataclass
class Tree:
    """One value: its identifier, and its content or the values that its content is made of."""

    class_: int
    method: int
    tag: int
    content: bytes = b""
    children: "list[Tree]" = field(default_factory=list)
    before: bytes = b""
    """Octets before the children: the unused bits of a BIT STRING that holds a value."""
    length: str = ""
    """How the length is written, if not as DER wants it: `long`, or `none`."""

    def der(self) -> bytes:
        """Write the value."""
        content = self.before + b"".join(child.der() for child in self.children) + self.content
        plain = bytes(parser.emit(self.class_, self.method, self.tag, content))
        if not self.length:
            return plain
        identifier = plain[:1]
        if self.length == "none":
            return identifier + b"\x80" + content + b"\0\0"
        return identifier + b"\x84" + len(content).to_bytes(4, "big") + content

    def copied(self) -> "Tree":
        """Return a copy of the value and of all below it."""
        children = [child.copied() for child in self.children]
        return Tree(
            self.class_, self.method, self.tag, self.content, children, self.before, self.length
        )

    def nodes(self) -> "Iterator[Tree]":
        """Yield this value and all below it."""
        yield self
        for child in self.children:
            yield from child.nodes()


def tree_of(der: bytes) -> Tree:
    """Read a value; most are changed many times, and are read once."""
    return _read(der).copied()


@lru_cache(maxsize=1_000)
def _read(der: bytes) -> Tree:
    return _tree_of(der)


def _tree_of(der: bytes) -> Tree:
    class_, method, tag, _, content, _ = parser.parse(der, strict=True)
    made = Tree(class_, method, tag)
    skipped = 1 if (class_, tag) == (0, _BITS) and content[:1] == b"\0" else 0
    holds_values = method == 1 or ((class_, tag) in ((0, _OCTETS), (0, _BITS)) and len(content) > 2)
    parts = _parts(content[skipped:]) if holds_values else None
    if method == 0 and parts and b"".join(part.der() for part in parts) != content[skipped:]:
        parts = None  # it only looks like a value
    if parts is None:
        made.content = content
    else:
        made.before, made.children = content[:skipped] if method == 0 else b"", parts
    return made


def _parts(content: bytes) -> list[Tree] | None:
    parts = []
    try:
        while content:
            size = sum(map(len, parser.parse(content)[3:6]))
            part = _tree_of(content[:size])
            parts.append(part)
            content = content[size:]
    except (ValueError, IndexError):
        return None
    return parts


def other_byte(rng: Random, node: Tree) -> None:
    """Change one byte of a content."""
    if node.content:
        place = rng.randrange(len(node.content))
        changed = node.content[place] ^ (1 << rng.randrange(8))
        node.content = node.content[:place] + bytes([changed]) + node.content[place + 1 :]


def other_content(rng: Random, node: Tree) -> None:
    """Make a content shorter, longer or empty."""
    node.content = rng.choice(
        (node.content[1:], node.content[:-1], b"", b"\0" + node.content, node.content + b"\x80", rng.randbytes(3))
    )  # fmt: skip


def other_tag(rng: Random, node: Tree) -> None:
    """Call a value something else."""
    if rng.random() < 0.5:
        node.tag = rng.choice(_TAGS)
    else:
        node.class_, node.tag = rng.choice(
            ((2, rng.randrange(5)), (0, node.tag), (1, node.tag), (0, 4))
        )


def other_method(_: Random, node: Tree) -> None:
    """Say that a value has parts, or none."""
    node.method ^= 1


def other_length(rng: Random, node: Tree) -> None:
    """Write a length in another way than DER."""
    node.length = rng.choice(("long", "none"))


def part_left_out(rng: Random, node: Tree) -> None:
    """Leave a part out."""
    if node.children:
        del node.children[rng.randrange(len(node.children))]


def part_twice(rng: Random, node: Tree) -> None:
    """Write a part twice."""
    if node.children:
        node.children.insert(rng.randrange(len(node.children) + 1), rng.choice(node.children))


def parts_swapped(rng: Random, node: Tree) -> None:
    """Write parts in another order."""
    rng.shuffle(node.children)


def part_more(rng: Random, node: Tree) -> None:
    """Write a further part."""
    if node.method == 1:
        snippet = tree_of(rng.choice(_SNIPPETS))
        node.children.insert(rng.randrange(len(node.children) + 1), snippet)


def other_part(rng: Random, node: Tree) -> None:
    """Write something else instead of a part."""
    if node.children:
        node.children[rng.randrange(len(node.children))] = tree_of(rng.choice(_SNIPPETS))


def other_oid(rng: Random, node: Tree) -> None:
    """Name another algorithm, extension, purpose or type."""
    named = [below for below in node.nodes() if (below.class_, below.tag) == (0, 6)]
    if named:
        rng.choice(named).content = core.ObjectIdentifier(rng.choice(_OIDS)).contents


def other_time(rng: Random, node: Tree) -> None:
    """Write another time, or a time in another form."""
    times = [below for below in node.nodes() if below.class_ == 0 and below.tag in (23, 24)]
    if times:
        chosen = rng.choice(times)
        chosen.content = rng.choice(_TIMES)
        chosen.tag = rng.choice((23, 24, 24, chosen.tag, chosen.tag))


def other_number(rng: Random, node: Tree) -> None:
    """Write another number."""
    numbers = [below for below in node.nodes() if (below.class_, below.tag) == (0, 2)]
    if numbers:
        rng.choice(numbers).content = rng.choice(_NUMBERS)


def other_string(rng: Random, node: Tree) -> None:
    """Write a text as another kind of string, or in other letters."""
    texts = [below for below in node.nodes() if below.class_ == 0 and below.tag in (12, 19, 22, 30)]
    if texts:
        chosen = rng.choice(texts)
        text = chosen.content.decode("latin-1")
        text = rng.choice(
            (
                text,
                text.upper(),
                f" {text} ",
                text.replace(" ", "  "),
                f"{text}_",
                f"é{text}",
                f"#{text},",
            )
        )
        chosen.tag, coding = rng.choice(
            ((12, "utf-8"), (19, "latin-1"), (20, "latin-1"), (22, "utf-8"), (26, "utf-8"), (28, "utf-32-be"),
             (30, "utf-16-be"), (18, "utf-8"), (4, "utf-8"), (3, "utf-8"))
        )  # fmt: skip
        chosen.content = text.encode(coding)


CHANGES: tuple[Callable[[Random, Tree], None], ...] = (
    other_byte, other_byte, other_content, other_tag, other_method, other_length, part_left_out, part_twice,
    parts_swapped, part_more, other_part, other_oid, other_oid, other_time, other_number, other_string,
)  # fmt: skip


def changed_tree(rng: Random, tree: Tree) -> None:
    """Change something somewhere in a tree; outer values as often as all inner ones together."""
    nodes = list(tree.nodes())
    rng.choice(CHANGES)(rng, rng.choice(nodes if rng.random() < 0.7 else nodes[:12]))


def changed(rng: Random, der: bytes) -> bytes:
    """Change a value in DER somewhere."""
    tree = tree_of(der)
    changed_tree(rng, tree)
    return tree.der()
