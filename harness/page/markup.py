"""Text of records as HTML: whatever a server or a journal said is shown as it stands and never taken for markup."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

UNKNOWN = "unknown"
_CHART_LABEL = 70


@dataclass(frozen=True, slots=True)
class Html:
    """Text that is markup already."""

    markup: str


Content = str | Html


def markup(content: Content) -> str:
    """The content as markup: plain text is escaped."""
    return content.markup if isinstance(content, Html) else html.escape(content)


def chart_label(text: str, most: int = _CHART_LABEL) -> str:
    """Text for inside a chart, whose library reads tags and placeholders: escaped, and where too long cut short inside.

    A space of no width parts what would be a placeholder, `%{`, which has no escape.
    """
    line = " ".join(text.split())
    end = most // 2
    short = line if len(line) <= most else f"{line[: most - end - 1]}…{line[-end:]}"
    return html.escape(short, quote=False).replace("%{", "%\u200b{")


def table(heads: Sequence[str], rows: Iterable[Sequence[Content]], kind: str = "") -> Html:
    """A table; `kind` is its class."""
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in heads)
    body = "\n".join("<tr>" + "".join(f"<td>{markup(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return Html(
        f'<div class="wide"><table class="{html.escape(kind)}"><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def facts(pairs: Iterable[tuple[str, Content]]) -> Html:
    """Names with what is known under each."""
    rows = "\n".join(f"<dt>{html.escape(name)}</dt><dd>{markup(value)}</dd>" for name, value in pairs)
    return Html(f"<dl>\n{rows}\n</dl>")


def sentences(lines: Iterable[str], kind: str = "") -> Html:
    """A list of sentences; nothing where there are none."""
    items = "\n".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return Html(f'<ul class="{html.escape(kind)}">\n{items}\n</ul>' if items else "")


def joined(parts: Iterable[Content]) -> Html:
    """Parts one below the other."""
    return Html("\n".join(markup(part) for part in parts))


def swatch(colour: str) -> Html:
    """A patch of a cell's colour. `colour` is one of ours."""
    return Html(f'<span class="swatch" style="background:{colour}"></span>')
