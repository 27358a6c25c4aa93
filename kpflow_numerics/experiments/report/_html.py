"""Small pieces of HTML, with all text escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1rem; max-width: 64rem; color: #1a1a1a; background: #fff;
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif;
}
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0.5rem 0 0.25rem; }
h2 { font-size: 1.2rem; margin: 2rem 0 0.5rem; border-bottom: 1px solid #ccc; }
h3 { font-size: 1rem; margin: 1.25rem 0 0.25rem; }
p, ul { max-width: 46rem; margin: 0.5rem 0; }
.subtitle { color: #595959; margin: 0; }
nav ul { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; margin: 0.75rem 0; padding: 0;
  list-style: none; font-size: 0.9rem; max-width: none; }
nav a { color: #0b5394; }
.facts {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr));
  gap: 0.75rem; margin: 1rem 0; padding: 0;
}
.facts div { border: 1px solid #d0d0d0; border-radius: 6px; padding: 0.5rem 0.75rem; }
.facts dt { font-size: 0.8rem; color: #595959; }
.facts dd { margin: 0; font-size: 1.2rem; font-variant-numeric: tabular-nums; }
.facts small { display: block; font-size: 0.8rem; color: #595959; line-height: 1.3; }
.figures {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr));
  gap: 1rem 1.5rem; margin: 0.75rem 0;
}
figure { margin: 0; max-width: 26rem; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { font-size: 0.85rem; color: #404040; line-height: 1.35; margin-top: 0.25rem; }
.scroll { overflow-x: auto; }
table {
  border-collapse: collapse; font-size: 0.88rem; font-variant-numeric: tabular-nums;
  margin: 0.5rem 0;
}
caption { text-align: left; color: #404040; font-size: 0.85rem; padding-bottom: 0.25rem; }
caption > span { display: block; position: sticky; left: 0; width: max-content;
  max-width: min(46rem, 100vw - 3rem); }
th, td { padding: 0.2rem 0.7rem 0.2rem 0; text-align: left; vertical-align: top; }
td, .whole { white-space: nowrap; }
thead th { border-bottom: 1px solid #808080; }
tbody tr + tr > * { border-top: 1px solid #e6e6e6; }
tbody th { font-weight: normal; white-space: nowrap; }
td.number, th.number { text-align: right; }
td.text, td.words { white-space: normal; }
td.text { min-width: 14rem; }
.good { color: #00664b; font-weight: 600; }
.bad { color: #a33c00; font-weight: 600; }
.notice { border-left: 4px solid #d55e00; padding: 0.25rem 0.75rem; background: #fdf3ec; }
code { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: 0.9em;
  overflow-wrap: anywhere; }
footer { margin-top: 2rem; font-size: 0.85rem; color: #404040; }
@media print {
  @page { margin: 15mm; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  .figures { grid-template-columns: repeat(2, 1fr); }
  figure, tr, .facts div { break-inside: avoid; }
  nav { display: none; }
  h2, h3 { break-after: avoid; }
  .scroll { overflow: visible; }
  td { white-space: normal; }
  td.text { min-width: 0; }
}
"""


class Markup(str):
    """Text that is HTML already, and is not escaped again."""


def escape(text: object) -> Markup:
    """Return text as HTML that shows it."""
    return text if isinstance(text, Markup) else Markup(html.escape(str(text), quote=True))


_SPACE_WITHIN = re.compile(
    r"(?<=\d) (?=%)|(?<=\biteration) (?=\d)|(?<=\bP) (?=P\*|K P\*)|(?<=\bP K) (?=P\*)"
)
_UNBROKEN = re.compile(r"\d[\d.,]*e[+-]\d+|tr\(A B\) / \(\|A\| \|B\|\)")


def whole(text: object) -> Markup:
    """Return text as HTML in which no line ends within a number, or within a product of operators.

    Browsers take the minus of ``1e-05`` for a hyphen, and would end a line there or behind a bar.
    """
    kept = _SPACE_WITHIN.sub("\N{NO-BREAK SPACE}", escape(text))
    return Markup(_UNBROKEN.sub(r'<span class="whole">\g<0></span>', kept))


def element(tag: str, *content: object, **attributes: str) -> Markup:
    """Return an element; text in it is escaped, and ``class_`` stands for ``class``.

    Numbers in the text stay whole, see :func:`whole`. An underscore within the name of an attribute
    stands for a hyphen.
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for name, value in attributes.items()
        if value
    )
    inner = "".join(part if isinstance(part, Markup) else whole(part) for part in content)
    return Markup(f"<{tag}{written}>{inner}</{tag}>")


def join(parts: Iterable[object], separator: str = "\n") -> Markup:
    """Return the parts one after the other."""
    return Markup(separator.join(escape(part) for part in parts))


def table(
    header: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    caption: object = "",
    numeric: Sequence[int] = (),
    wide: Sequence[int] = (),
    wrapped: Sequence[int] = (),
) -> Markup:
    """Return a table that scrolls sideways where the page is narrow.

    Parameters
    ----------
    header : sequence
        The name of each column.
    rows : iterable of sequence
        The cells; the first of a row is its header.
    caption : object
        Stands above the table.
    numeric, wide, wrapped : sequence of int
        Columns that are set to the right, columns of running text, and columns of a few words that
        may take several lines; all others stay on one line.
    """

    def kind(column: int) -> str:
        if column in numeric:
            return "number"
        return "text" if column in wide else "words" if column in wrapped else ""

    head = join(
        (
            element("th", name, scope="col", class_=kind(column))
            for column, name in enumerate(header)
        ),
        "",
    )
    body = []
    for row in rows:
        cells = [element("th", row[0], scope="row", class_=kind(0))]
        cells += [
            element("td", cell, class_=kind(column)) for column, cell in enumerate(row) if column
        ]
        body.append(element("tr", *cells))
    content = [element("caption", element("span", caption))] if caption else []
    content += [element("thead", element("tr", head)), element("tbody", join(body))]
    return element("div", element("table", *content), class_="scroll", tabindex="0")


def page(title: str, *content: object) -> str:
    """Return a whole document that needs nothing from outside.

    Shapes of letters, which every figure brings along, are in it once.
    """
    glyphs, body = share_glyphs(join(content))
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{element('title', escape(title))}\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n{glyphs}{body}\n</body>\n</html>\n"
    )


_GLYPH = re.compile(
    r'<path id="([^"]+)"(?: d="([^"]*)")? transform="(scale\(0\.015625\))"\s*/>\s*', re.DOTALL
)
_FIGURE = re.compile(r"<svg .*?</svg>", re.DOTALL)
_SPARE = re.compile(r"<!--.*?-->|<defs>\s*</defs>|(?m:^[ \t]+)", re.DOTALL)
_REFERENCE = re.compile(r'((?:xlink:)?href="#)([^"]+)"')


def share_glyphs(text: str) -> tuple[Markup, Markup]:
    """Return the letters of the figures of a page, each once, and the page without them."""
    shared: dict[str, str] = {}
    names: dict[str, str] = {}

    def take(found: re.Match[str]) -> str:
        outline = " ".join((found[2] or "").split())
        names[found[1]] = shared.setdefault(outline, f"glyph-{len(shared)}")
        return ""

    body = _FIGURE.sub(lambda found: _SPARE.sub("", _GLYPH.sub(take, found[0])), text)
    body = _REFERENCE.sub(lambda found: f'{found[1]}{names.get(found[2], found[2])}"', body)
    if not shared:
        return Markup(""), Markup(body)
    paths = "".join(
        f'<path id="{name}" d="{outline}" transform="scale(0.015625)"/>'
        for outline, name in shared.items()
    )
    hidden = 'width="0" height="0" aria-hidden="true" style="position: absolute"'
    return Markup(f"<svg {hidden}><defs>{paths}</defs></svg>\n"), Markup(body)
