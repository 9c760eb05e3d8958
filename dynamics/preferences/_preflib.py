"""Preference matrices from PrefLib's files: orders (`.soc`, `.soi`, `.toc`, `.toi`), categories (`.cat`) and pairwise graphs
(`.pwg`), with either style of header."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BufferedIOBase

from ._options import Notes, distinct_names, listed
from ._orders import Above, parse_categories, parse_order
from ._preflib_header import REMEDY, Header, Line, new_header, old_header, whole
from ._tables import Table
from ._wins import short

SUFFIXES = (".soc", ".soi", ".toc", ".toi", ".cat", ".pwg")
_MAX_FILE_BYTES = 2**28
_MAX_LINE_BYTES = 2**20
_MAX_COMPARISONS = 2**38  # orders times K², which take minutes


def read_preflib(stream: BufferedIOBase, suffix: str, notes: Notes) -> Table:
    """How many voters have i above j among those who rank both, ties counted half to each."""
    lines = _lines(stream)
    first = next(lines, None)
    if first is None:
        raise ValueError("it is empty; pass a PrefLib file of orders.")
    weighted = suffix == ".pwg"
    header, first = new_header(first, lines) if first[1].startswith("#") else old_header(first, lines, weighted)
    K = len(header.names)
    if header.orders * K * K > _MAX_COMPARISONS:
        raise ValueError(
            f"it has {header.orders} orders of {K} alternatives; orders times alternatives squared may be "
            f"at most {_MAX_COMPARISONS:.2g}, so pass fewer."
        )
    above = _count(header, first, lines, suffix)
    if suffix == ".cat":
        order = f": {listed(header.categories, 12)}" if header.categories else ""
        notes.say(f"categories were taken best first{order}, and alternatives of one category as tied")
    names = distinct_names(header.names, "alternative", 1, notes)
    return Table(names, above.wins, above.ties, header.voters)


def _lines(stream: BufferedIOBase) -> Iterator[Line]:
    """Lines that are not blank, trimmed, with their numbers; a line that is not UTF-8 is read as Latin-1, as in older files."""
    number = size = 0
    while line := stream.readline(_MAX_LINE_BYTES + 1):
        number, size = number + 1, size + len(line)
        if size > _MAX_FILE_BYTES:
            raise ValueError(f"it has more than {_MAX_FILE_BYTES // 2**20} MiB; pass fewer orders.")
        if len(line) > _MAX_LINE_BYTES:
            raise ValueError(f"line {number} has more than {_MAX_LINE_BYTES} bytes; pass a PrefLib file of orders.")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            text = line.decode("latin-1")
        if text := text.strip():
            yield number, text


def _count(header: Header, line: Line | None, lines: Iterator[Line], suffix: str) -> Above:
    """Counts every order, and compares the totals with the header."""
    K = len(header.names)
    index = {str(k + 1): k for k in range(K)}
    above, orders, voters = Above(K), 0, 0
    while line is not None:
        number, text = line
        where = f"line {number}"
        count, separator, order = text.partition(header.separator)
        if not separator:
            raise ValueError(f"{where} is {short(text)}; write an order as count{header.separator}a,b,{{c,d}}.")
        weight = whole(count, number, "the count of an order", least=1)
        parse = parse_categories if suffix == ".cat" else parse_order
        alternatives, ranks = parse(order.strip(), index, where)
        _check_kind(suffix, where, K, ranks)
        orders, voters = orders + 1, voters + weight
        if orders > header.orders:
            raise ValueError(
                f"{where} is order {orders} of the {header.orders} that line {header.line} states; {REMEDY}."
            )
        above.add(weight, alternatives, ranks)
        line = next(lines, None)
    if orders < header.orders:
        raise ValueError(
            f"it ends after {orders} of the {header.orders} orders that line {header.line} states; {REMEDY}."
        )
    # The newer header states how many voters there were, which is not the sum over the edges of a graph.
    if voters != header.total and not (suffix == ".pwg" and header.separator == ":"):
        raise ValueError(
            f"its counts sum to {voters} where line {header.voters_line} states {header.total} voters; {REMEDY}."
        )
    above.close()
    return above


def _check_kind(suffix: str, where: str, K: int, ranks: Sequence[int]) -> None:
    """Checks what the suffix promises: strict or tied (s, t), complete or incomplete (c, i) orders."""
    if suffix == ".cat":
        return
    if suffix == ".pwg":
        if len(ranks) != 2 or ranks[0] == ranks[1]:
            raise ValueError(f"{where} is no edge of a pairwise graph; write count,a,b where a was preferred to b.")
        return
    if suffix[-1] == "c" and len(ranks) < K:
        raise ValueError(
            f"{where} ranks {len(ranks)} of {K} alternatives, but orders in a {suffix} file are complete; rank them all, "
            f"or name the file {suffix[:-1]}i."
        )
    if suffix[1] == "s" and ranks[-1] + 1 < len(ranks):
        raise ValueError(
            f"{where} has a tie, but orders in a {suffix} file are strict; break it, or name the file .t{suffix[2:]}."
        )
