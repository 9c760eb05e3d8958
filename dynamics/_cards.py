"""Cards: a result as a table of labels and text, in HTML or Markdown, for a wiki or a model card.

Text may hold names of responses, which anyone may have written: everything is escaped, and nothing outside is referred to.
"""

from __future__ import annotations

import html as _html
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

# What Markdown gives a meaning to within a line; also what makes a link out of a bare address.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~$&!^])|(:)(?=//)|(?<=www)(\.)", re.IGNORECASE)


class Table(NamedTuple):
    """A table below the labels of a card: its columns, and rows of text."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class Card:
    """A result that is also a card; a subclass writes ``_card`` and names ``card_title``."""

    card_title: ClassVar[str]

    def _card(self, names: Sequence[str] | None) -> tuple[list[tuple[str, str]], list[Table]]:
        """Labels with their text, and tables."""
        raise NotImplementedError

    def to_markdown(self, names: Sequence[str] | None = None, *, title: str | None = None) -> str:
        """The result as a card in Markdown, for a wiki or a model card; names and all other text are escaped.

        Args:
            names: of the K responses, such as ``votes.names[0]`` of a ``PreferenceSet``; their numbers unless given.
            title: the heading; that of the kind of result unless given.

        Raises:
            ValueError: names that do not fit.

        >>> loop = dyn.SelfSampling(dyn.preferences.cyclic(3, 0.4), dyn.IPO(0.5), alpha=0.5, lam=1.0)
        >>> card = dyn.stability.analyze(loop, starts=4).to_markdown(["a", "b", "<c>"])
        >>> print(*card.splitlines()[:3], sep="\\n")
        ### Stability of the rounds
        <BLANKLINE>
        - **verdict:** converged
        """
        return markdown(self.card_title if title is None else title, *self._card(names))

    def to_html(self, names: Sequence[str] | None = None, *, title: str | None = None) -> str:
        """The result as a card in HTML: one ``<section>`` that loads nothing; names and all other text are escaped.

        Args:
            names, title: as in ``to_markdown``.

        Raises:
            ValueError: names that do not fit.
        """
        return html(self.card_title if title is None else title, *self._card(names))


def plain(text: Any) -> str:
    """Text on one line, without characters that do not print, such as those that turn the direction of writing."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


def markdown_text(text: Any) -> str:
    """Text as Markdown that shows it literally within a line; a card begins no line with it.

    >>> print(markdown_text("a|b <i>*x*</i>"))
    a\\|b \\<i\\>\\*x\\*\\</i\\>
    """
    return _SPECIAL.sub(lambda found: "\\" + found.group(0), plain(text))


def html_text(text: Any) -> str:
    """Text as HTML that shows it literally."""
    return _html.escape(plain(text), quote=True)


def markdown(title: str, lines: Iterable[tuple[str, str]], tables: Iterable[Table] = ()) -> str:
    """A card in Markdown: a heading, a list of labels and text, and tables (as GitHub and Hugging Face show them)."""
    parts = [f"### {markdown_text(title)}", ""]
    parts += [f"- **{markdown_text(label)}:** {markdown_text(text)}" for label, text in lines]
    for table in tables:
        row = lambda cells: "| " + " | ".join(map(markdown_text, cells)) + " |"
        parts += ["", row(table.columns), "|" + " --- |" * len(table.columns), *map(row, table.rows)]
    return "\n".join(parts) + "\n"


def html(title: str, lines: Iterable[tuple[str, str]], tables: Iterable[Table] = ()) -> str:
    """A card in HTML: one ``<section>`` without scripts, classes or anything to load."""
    edge = 'style="text-align:left;vertical-align:top;padding:.2em .8em .2em 0"'
    head = lambda scope, text: f'<th scope="{scope}" {edge}>{html_text(text)}</th>'
    cell = lambda text: f"<td {edge}>{html_text(text)}</td>"
    parts = ["<section>", f"<h3>{html_text(title)}</h3>"]
    rows = [f"<tr>{head('row', label)}{cell(text)}</tr>" for label, text in lines]
    parts += ["<table>", *rows, "</table>"] if rows else []
    for table in tables:
        columns = "".join(head("col", name) for name in table.columns)
        parts += ["<table>", f"<tr>{columns}</tr>"]
        parts += [f"<tr>{head('row', first)}{''.join(map(cell, rest))}</tr>" for first, *rest in table.rows]
        parts.append("</table>")
    return "\n".join([*parts, "</section>"]) + "\n"


def naming(names: Sequence[str] | None, size: int | None) -> Callable[[int], str]:
    """The name of each response, its number where none are given; raises ``ValueError`` where they do not fit."""
    if names is None:
        return lambda i: str(i)
    if isinstance(names, str):
        raise ValueError(
            f"names is the text {names!r}; pass a list of names. The card is returned as text, to be written to a file."
        )
    if size is not None and len(names) != size:
        raise ValueError(f"names has {len(names)} entries for {size} responses; pass one name per response.")
    return lambda i: plain(names[i])
