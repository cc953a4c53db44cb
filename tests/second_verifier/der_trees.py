"""Values in DER as trees that can be changed anywhere and written again; also inside octets that hold further values."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

from asn1crypto import parser

_OCTETS, _BITS = 4, 3
_TAGS = (1, 2, 3, 4, 5, 6, 10, 12, 16, 17, 19, 22, 23, 24, 30)
_SNIPPETS = tuple(
    bytes.fromhex(text)
    for text in ("0500", "010100", "0101ff", "020101", "0201ff", "3000", "3100", "0400", "0c0161", "1300", "a0020500",
                 "06032a0304", "020a00ffffffffffffffff01", "301406082b0601050507030806082b06010505070301",
                 "180f32303236303131353130303030305a", "170d3236303131353130303030305a")
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

    def nodes(self) -> "Iterator[Tree]":
        """Yield this value and all below it."""
        yield self
        for child in self.children:
            yield from child.nodes()


def tree_of(der: bytes) -> Tree:
    """Read a value."""
    class_, method, tag, _, content, _ = parser.parse(der, strict=True)
    made = Tree(class_, method, tag)
    skipped = 1 if (class_, tag) == (0, _BITS) and content[:1] == b"\0" else 0
    holds_values = method == 1 or ((class_, tag) in ((0, _OCTETS), (0, _BITS)) and len(content) > 2)
    parts = _parts(content[skipped:]) if holds_values else None
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
            part = tree_of(content[:size])
            if part.der() != content[:size]:
                return None
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
        node.class_, node.tag = rng.choice(((2, rng.randrange(5)), (0, node.tag), (1, node.tag), (0, 4)))


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


CHANGES: tuple[Callable[[Random, Tree], None], ...] = (
    other_byte, other_byte, other_content, other_tag, other_method, other_length, part_left_out, part_twice,
    parts_swapped, part_more, other_part,
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
