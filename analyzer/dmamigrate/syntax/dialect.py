# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's dialect of C made plain C, byte for byte.

tree-sitter-c knows ISO C and some GNU extensions. The kernel adds annotations, loop macros, scope guards and types
as macro arguments. Each is replaced here by filler of the same length, so that offsets keep their meaning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from dmamigrate.syntax.source import spaces

_NESTED = rb"\((?:[^()]|\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))*\)"
_ATTRIBUTE = re.compile(rb"\b__attribute(?:__)?\s*" + _NESTED)
_ANNOTATION_WITH_ARGUMENTS = re.compile(
    rb"\b__(?:free|cleanup|guarded_by|pt_guarded_by|must_hold\w*|acquires?\w*|releases?\w*|cond_acquires\w*"
    rb"|counted_by\w*"
    rb"|aligned|section|printf|scanf|bitwise|alloc_size|assume_aligned|mode|alias|assigns|no_sanitize|nonnull\w*)\s*"
    + _NESTED
)
_ANNOTATION = re.compile(
    rb"\b__(?:iomem|user|percpu|rcu|force|kernel|private|nocast|safe|init|exit|initdata|initconst|exitdata|maybe_unused"
    rb"|always_unused|must_check|always_inline|packed|read_mostly|ro_after_init|bitwise|cold|hot|pure|refdata|ref"
    rb"|weak|visible|used|unused|nonstring|malloc|deprecated|noreturn|extension__|restrict)\b"
    rb"|\b(?:noinline|noinline_for_stack|asmlinkage|notrace|__visible|noinstr|____cacheline_aligned\w*)\b"
)
# An identifier before another identifier can only be a type, a keyword or an annotation.
_UNKNOWN_ANNOTATION = re.compile(
    rb"\b(?!__(?:[a-z]{0,6}\d+|\w+_t|wsum|typeof\w*|label__|inline\w*|const\w*|signed\w*|volatile\w*|asm\w*"
    rb"|auto_type)\b)"
    rb"__[a-z]\w*\b(?=[ \t]+[A-Za-z_])"
)
# ... and a call behind a plain identifier can only be an annotation with arguments.
_UNKNOWN_SUFFIX = re.compile(rb"(?<=\w)([ \t]+)(__[a-z]\w*\s*" + _NESTED + rb")(?=\s*[=;,])")
_BEHIND_HEAD = re.compile(rb"(?<=\))(?:\s*__\w+\b(?:\s*" + _NESTED + rb")?)+(?=\s*\Z)")
# Operators over types and member paths, which the grammar reads only in their ISO form.
_TYPE_OPERATOR = re.compile(rb"\b(?:offsetof|offsetofend|_*alignof_*|_Alignof)\s*" + _NESTED)
# tree-sitter takes one macro between or before strings, the kernel puts two
_MACRO_BEFORE_STRING = re.compile(rb"\b[A-Z_][A-Z0-9_]+(?=\s+[A-Z_][A-Z0-9_]*\s*\")")
_NOT_A_DECLARATOR = re.compile(rb"\b(?:return|case|else|do|goto|sizeof|typeof|in)\s*\Z")
_TYPEOF = re.compile(rb"\b(?:__)?typeof(?:__|_member|_unqual)?\s*" + _NESTED)
_AUTO = re.compile(rb"\b(?:__auto_type|auto)\b")
_TYPE_WORDS = rb"(?:(?:const|volatile|unsigned|signed|long|short|int|char|struct|union|enum)\s+)"
_TYPE_ARGUMENT = re.compile(
    rb"(?P<before>(?P<callee>\b[A-Za-z_]\w*)\s*\(|,)(?P<space>\s*)"
    rb"(?P<type>" + _TYPE_WORDS + rb"+\w+(?:\s*\*+)*|\w+\s*\*+)(?=\s*(?P<after>[,)]))"
)
_NOT_CALLED = frozenset(
    {
        b"sizeof",
        b"return",
        b"if",
        b"while",
        b"for",
        b"switch",
        b"case",
        b"else",
        b"_Alignof",
        b"alignof",
        b"__alignof__",
        b"__attribute__",
    }
)
_KEYWORD_HEADS = frozenset({b"if", b"while", b"for", b"switch", b"return", b"sizeof", b"do", b"else", b"case"})
_CASE_RANGE = re.compile(rb"(?<=[\w)\s])\.\.\.(?=\s*[\w(\-'])")
# What may stand before a single statement, as it may before a block: loops, and scope guards.
_EACH = re.compile(rb"\b([A-Za-z_]\w*(?:each|EACH)\w*|scoped_\w+)\s*\(")
_BLOCK_HEAD = re.compile(rb"\)\s*\{")
_PLAIN_BLOCK = re.compile(rb"scoped|guard|with_|_class\b")
_BARE_STATEMENT = re.compile(rb"(?<=[;{}:])\s*\n[ \t]*(?:([A-Za-z_]\w*)[ \t]*(\()|([A-Z][A-Z0-9_]+)(?=[ \t]*\n))")
# a number glued to a name is half of an identifier that ## will paste together
_PASTED = re.compile(rb"\b\d(?=\d*[A-Z]*_\w*[A-Z])")
_DIRECTIVE_LINE = re.compile(rb"^[ \t]*#[^\n]*", re.MULTILINE)
_CONDITIONAL = re.compile(rb"^[ \t]*#[ \t]*(if|ifdef|ifndef|elif|else|endif)\b[^\n]*", re.MULTILINE)


_UNMAP_STATE = re.compile(rb"\bDEFINE_DMA_UNMAP_(ADDR|LEN)\s*\(\s*(\w+)\s*\)")


def _spaces(match: re.Match[bytes]) -> bytes:
    return spaces(match.group())


def closing(text: bytes, opening: int, limit: int | None = None) -> int:
    """The offset of the parenthesis that closes the one at `opening`, or -1."""
    depth = 0
    for match in re.compile(rb"[()]").finditer(text, opening, len(text) if limit is None else limit):
        depth += 1 if match.group() == b"(" else -1
        if depth == 0:
            return match.start()
    return -1


def opening(text: bytes, closing_at: int) -> int:
    """The offset of the parenthesis that the one at `closing_at` closes, or -1."""
    depth = 0
    at = closing_at
    while at >= 0:
        if text[at] == 0x29:
            depth += 1
        elif text[at] == 0x28:
            depth -= 1
            if depth == 0:
                return at
        at -= 1
    return -1


def blank_annotations(text: bytes) -> bytes:
    """Blank attributes and annotations; for heads, struct definitions and bodies alike."""
    if b"__" in text:
        text = _ATTRIBUTE.sub(_spaces, text)
        text = _ANNOTATION_WITH_ARGUMENTS.sub(_spaces, text)
        text = _ANNOTATION.sub(_spaces, text)
        text = _UNKNOWN_SUFFIX.sub(
            lambda m: (
                m.group() if _NOT_A_DECLARATOR.search(text, 0, m.start()) else m.group(1) + b" " * len(m.group(2))
            ),
            text,
        )
        text = _UNKNOWN_ANNOTATION.sub(_spaces, text)
        text = _TYPEOF.sub(lambda m: b"int".ljust(len(m.group())), text)
    elif b"typeof" in text:
        text = _TYPEOF.sub(lambda m: b"int".ljust(len(m.group())), text)
    text = _TYPE_OPERATOR.sub(lambda m: b"1".ljust(len(m.group())), text)
    return _AUTO.sub(lambda m: b"int".ljust(len(m.group())), text) if b"auto" in text else text


def _type_argument(match: re.Match[bytes]) -> bytes:
    callee, kind = match["callee"], match["type"]
    if callee in _NOT_CALLED:
        return match.group()
    return match["before"] + match["space"] + re.sub(rb"\W", b"_", kind)


def _blank_macro_heads(text: bytes) -> bytes:
    """Turn `name(...) {` and `for_each_x(...) statement` into loops, and scope guards into plain blocks."""
    heads: dict[int, tuple[int, int]] = {}
    for match in _BLOCK_HEAD.finditer(text):
        start = opening(text, match.start())
        name = re.search(rb"([A-Za-z_]\w*)\s*\Z", text[max(0, start - 80) : start]) if start > 0 else None
        if name is None or name.group(1) in _KEYWORD_HEADS:
            continue
        at = start - len(name.group())
        before = text[:at].rstrip()
        if before and before[-1:] not in b";{}:)" and not before.endswith((b"else", b"do")):
            continue
        heads[at] = (at + len(name.group(1)), match.start())
    for loop in _EACH.finditer(text):
        end = closing(text, loop.end() - 1)
        if end < 0 or loop.start() in heads:
            continue
        following = text[end + 1 :].lstrip()[:2]
        if following[:1].isalpha() or following[:1] in (b"_", b"{", b"*", b"(") or following in (b"++", b"--"):
            heads[loop.start()] = (loop.start() + len(loop.group(1)), end)
    if not heads:
        return text
    out = bytearray(text)
    for at, (name_end, end) in heads.items():
        name_text = text[at:name_end]
        if _PLAIN_BLOCK.search(name_text):
            out[at : end + 1] = spaces(bytes(out[at : end + 1]))
        elif len(name_text) >= 5:
            out[at:name_end] = b"while".ljust(len(name_text))
        elif len(name_text) >= 2:
            out[at:name_end] = b"if".ljust(len(name_text))
    return bytes(out)


def _end_bare_statements(text: bytes) -> bytes:
    """Give a macro call that stands alone without a semicolon one, in place of the line end."""
    out = bytearray(text)
    for match in _BARE_STATEMENT.finditer(text):
        if match.group(1) in _KEYWORD_HEADS:
            continue
        end = closing(text, match.start(2)) if match.group(2) else match.end() - 1
        if end < 0 or text[end + 1 : end + 2] not in (b"\n", b" ", b"\t"):
            continue
        rest = text[end + 1 :].lstrip()
        if b"\n" in text[end + 1 : len(text) - len(rest)] and (rest[:1].isalpha() or rest[:1] in (b"_", b"}")):
            out[end + 1] = 0x3B
    return bytes(out)


def plain_body(text: bytes) -> bytes:
    """A function body, or a macro's, in plain C; of the same length."""
    text = blank_annotations(text)
    text = _blank_macro_heads(text)
    # twice, because neighbouring arguments share a comma
    text = _TYPE_ARGUMENT.sub(_type_argument, _TYPE_ARGUMENT.sub(_type_argument, text))
    text = _MACRO_BEFORE_STRING.sub(lambda m: b'""'.ljust(len(m.group())), text)
    text = _PASTED.sub(b"_", text)
    text = _CASE_RANGE.sub(b"|| ", text)
    return _end_bare_statements(text)


def plain_members(text: bytes) -> bytes:
    """The members of a struct in plain C; of the same length."""
    return _UNMAP_STATE.sub(_unmap_state, blank_annotations(text))


def _unmap_state(match: re.Match[bytes]) -> bytes:
    """include/linux/dma-mapping.h: DEFINE_DMA_UNMAP_ADDR() and _LEN() declare a member."""
    kind = b"dma_addr_t " if match.group(1) == b"ADDR" else b"u32 "
    return (kind + match.group(2)).ljust(len(match.group()))


@dataclass(frozen=True, slots=True)
class _Side:
    start: int  # of the directive that opens it
    inside: int
    end: int


def _groups(text: bytes) -> list[list[_Side]]:
    """The #if groups of `text`, each as its sides, innermost first."""
    open_groups: list[list[tuple[int, int, int]]] = []
    groups: list[list[_Side]] = []
    for match in _CONDITIONAL.finditer(text):
        word = match.group(1)
        if word.startswith(b"if"):
            open_groups.append([(match.start(), match.end(), -1)])
        elif open_groups:
            sides = open_groups[-1]
            start, inside, _ = sides[-1]
            sides[-1] = (start, inside, match.start())
            if word == b"endif":
                sides.append((match.start(), match.end(), match.end()))
                groups.append([_Side(*side) for side in open_groups.pop()])
            else:
                sides.append((match.start(), match.end(), -1))
    return groups


def _balanced(text: bytes) -> bool:
    return all(text.count(a) == text.count(b) for a, b in ((b"(", b")"), (b"{", b"}")))


def _whole(body: bytes) -> bool:
    return not body or (body[-1:] in b";}:" and not body.startswith((b"}", b"else")))


def blank_head(text: bytes) -> bytes:
    """What stands before a function's, type's or variable's opening brace, annotations and directives blanked."""
    text = _DIRECTIVE_LINE.sub(_spaces, blank_annotations(text))
    return _BEHIND_HEAD.sub(_spaces, text)


def variants(text: bytes) -> list[bytes]:
    """`text` once for each way to take the sides of those #if groups that do not hold whole statements.

    Groups of whole statements stay as they are: the grammar knows them. In a list the directives alone are blanked.
    """
    if b"#" not in text:
        return [text]
    out = bytearray(text)
    split: list[list[_Side]] = []
    for sides in _groups(text):
        bodies = [_CONDITIONAL.sub(b"", text[side.inside : side.end]).strip() for side in sides[:-1]]
        before = _CONDITIONAL.sub(b"", text[: sides[0].start]).rstrip()[-1:]
        balanced = all(_balanced(body) for body in bodies)
        if balanced and before in b",{" and all(not body or body.endswith(b",") for body in bodies):
            for side in sides:
                out[side.start : side.inside] = b" " * (side.inside - side.start)
        elif not (balanced and before in b";{}:" and all(_whole(body) for body in bodies)):
            split.append(sides)
    if not split:
        return [bytes(out)]
    has_else = {id(s): text[s[-2].start : s[-2].inside].lstrip(b" \t#").startswith(b"else") for s in split}
    ways = max(len(sides) - 1 + (not has_else[id(sides)]) for sides in split)
    result: list[bytes] = []
    for way in range(ways):
        one = bytearray(out)
        for sides in split:
            chosen = min(way, len(sides) - 2 + (not has_else[id(sides)]))
            for number, side in enumerate(sides):
                end = side.inside if number == chosen or number == len(sides) - 1 else side.end
                one[side.start : end] = spaces(bytes(one[side.start : end]))
        result.append(bytes(one))
    return result
