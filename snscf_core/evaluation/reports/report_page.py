# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Makes the page of a report: one self-contained HTML file."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from ..metrics import MEASURES
from ..results import Evaluation, Table, TrackerResult
from .contact_sheets import KINDS, ContactSheet, Tile
from .plots import colour

_LOWER_IS_BETTER = {MEASURES["centre_error"]}
_NOT_RANKED = {"sequences"}

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --quiet: #5a6370; --paper: #fff; --line: #d9dee4;
  --grade: 0 114 178; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --quiet: #9aa4b0; --paper: #15181c; --line: #353c45;
  --grade: 86 180 233; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 76rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-top: .8rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.6rem 0 .3rem; }
h4 { font-size: .9rem; margin: 1.1rem 0 .4rem; }
p { margin: .4rem 0; max-width: 60rem; }
ul { margin: .4rem 0; padding-left: 1.2rem; }
nav { margin-top: .8rem; font-size: .875rem; }
nav a { color: inherit; margin-right: 1rem; display: inline-block; padding: .15rem 0; }
.note { border-left: 3px solid #d55e00; padding-left: .6rem; }
.quiet { color: var(--quiet); font-size: .875rem; }
.swatch { display: inline-block; width: .8em; height: .8em; margin-right: .4em; border: 1px solid #5a6370;
  border-radius: 2px; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.legend > span { margin-right: 1.1em; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .25rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
thead th { font-weight: 600; vertical-align: bottom; white-space: normal; overflow-wrap: break-word; max-width: 11rem; }
th:first-child { position: sticky; left: 0; text-align: left; font-weight: normal; background: var(--paper);
  max-width: 42vw; white-space: normal; overflow-wrap: break-word; }
thead th:first-child { font-weight: 600; }
tr.total > * { font-weight: 600; border-top: 2px solid var(--quiet); }
td.best { font-weight: 700; text-decoration: underline; text-underline-offset: 2px; }
.graded td { background: rgb(var(--grade) / calc(var(--v, 0) * 50%)); print-color-adjust: exact;
  -webkit-print-color-adjust: exact; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(21rem, 100%), 1fr)); gap: 1rem;
  align-items: start; }
.plots img, .wide img { display: block; width: 100%; height: auto; background: #fff; border-radius: 6px; }
.wide img { max-width: 56rem; }
.tiles { display: grid; gap: .6rem; grid-template-columns: repeat(auto-fill, minmax(min(15rem, 100%), 1fr)); }
.tiles.three { grid-template-columns: repeat(3, minmax(0, 1fr)); max-width: 60rem; }
figure { margin: 0; break-inside: avoid; }
.tiles img { display: block; width: 100%; height: auto; border-radius: 4px; }
figcaption { font-size: .8rem; line-height: 1.35; color: var(--quiet); margin-top: .15rem; }
@media (max-width: 40rem) { body { padding: 1rem .75rem 2rem; } .tiles { grid-template-columns: 1fr 1fr; }
  .tiles, .tiles.three { gap: .35rem; } figcaption { font-size: .7rem; } }
@media print { nav { display: none; }
  :root { color-scheme: light; --ink: #000; --quiet: #444; --paper: #fff; --line: #ccc;
  --grade: 0 114 178; } body { max-width: none; padding: 0; font-size: 10pt; } .scroll { overflow: visible; }
  h2, h3, h4 { break-after: avoid; } tr { break-inside: avoid; } .tiles { grid-template-columns: repeat(4, 1fr); }
  .plots { grid-template-columns: repeat(3, 1fr); } table { font-size: 8pt; } th, td { padding: .1rem .3rem; } }
"""


@dataclass(frozen=True)
class Page:
    """Holds the contents of the page.

    rules: in words, one for each set of rules
    common: means over the sequences that all trackers were run on; None if that is everything
    tables: additional ones
    plots: SVG files by name
    attributes: None without attributes
    notes: what the reader must know about the report itself
    """

    title: str
    evaluation: Evaluation
    rules: tuple[str, ...]
    means: Table
    common: Table | None
    tables: tuple[Table, ...]
    plots: Mapping[str, bytes]
    attributes: Table | None
    sequences: Table
    sheets: tuple[ContactSheet, ...]
    notes: tuple[str, ...] = ()


def page(content: Page) -> str:
    """Returns the page as text. All given text is escaped: nothing in a name can become markup."""
    sections = [
        (content.means.title, _table(content.means, best_in="column", means=True)),
        *([(content.common.title, _table(content.common, best_in="column"))] if content.common else []),
        *((table.title, _table(table)) for table in content.tables),
        ("Plots", _plots(content)),
        *([(content.attributes.title, _attributes(content, content.attributes))] if content.attributes else []),
        (content.sequences.title, _table(content.sequences, best_in="row", graded=True, total=True)),
        ("What the trackers saw", _sheets(content)),
    ]
    sections = [(title, body) for title, body in sections if body]
    links = " ".join(f'<a href="#s{i}">{escape(title)}</a>' for i, (title, _) in enumerate(sections))
    bodies = (
        f'<section id="s{i}">\n<h2>{escape(title)}</h2>\n{body}\n</section>\n'
        for i, (title, body) in enumerate(sections)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(content.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(content.title)}</h1>\n{_evaluated(content)}\n<nav>{links}</nav>\n"
        f"{''.join(bodies)}</body>\n</html>\n"
    )


def _evaluated(content: Page) -> str:
    evaluation = content.evaluation
    names = {name for tracker in evaluation.trackers for name in tracker.sequences}
    parts = [f"<p>Data set: <strong>{escape(evaluation.dataset)}</strong>, {_count(len(names), 'sequence')}.</p>"]
    parts += [f'<p class="note">{escape(note)}</p>' for note in content.notes]
    parts.append("<ul>" + "".join(map(_described, range(len(evaluation.trackers)), evaluation.trackers)) + "</ul>")
    parts += [f'<p class="quiet">{escape(rules)}</p>' for rules in content.rules]
    if evaluation.missing:
        count, listed = _count(len(evaluation.missing), "sequence"), escape(", ".join(evaluation.missing))
        parts.append(f"<p><strong>{count} of the data set missing</strong>: {listed}.</p>")
    for tracker in evaluation.trackers:
        if tracker.failed:
            failed = "".join(f"<li>{escape(name)}: {escape(error)}</li>" for name, error in tracker.failed.items())
            count = _count(len(tracker.failed), "sequence")
            parts.append(f"<p><strong>{escape(tracker.name)} failed on {count}</strong>:</p><ul>{failed}</ul>")
    return "\n".join(parts)


def _described(place: int, tracker: TrackerResult) -> str:
    details = " · ".join(f"{escape(key)}: {escape(str(value))}" for key, value in tracker.description.items())
    name = f"{_swatch(colour(place))}<strong>{_breakable(tracker.name)}</strong>"
    return f'<li>{name} <span class="quiet">{details}</span></li>'


def _plots(content: Page) -> str:
    shown = [name for name in content.plots if name != "attributes"]
    pictures = "".join(_picture(content.plots[name], "svg+xml", _label(name, content)) for name in shown)
    note = f'<p class="quiet">{escape(content.means.note)}</p>' if content.means.note else ""
    return f'<div class="plots">{pictures}</div>{note}' if shown else ""


def _attributes(content: Page, table: Table) -> str:
    plot = content.plots.get("attributes")
    picture = f'<div class="wide">{_picture(plot, "svg+xml", _label("attributes", content))}</div>' if plot else ""
    return picture + _table(table, best_in="row", means=True)


def _sheets(content: Page) -> str:
    names = [tracker.name for tracker in content.evaluation.trackers]
    parts = []
    for place in dict.fromkeys(sheet.tracker for sheet in content.sheets):
        sheets = [sheet for sheet in content.sheets if sheet.tracker == place]
        legend = [("#FFFFFF", "true box"), *((colour(i), names[i]) for i in reversed(sheets[0].drawn))]
        spans = "".join(f"<span>{_swatch(ink)}{escape(name)}</span>" for ink, name in legend)
        parts.append(f'<h3>{escape(names[place])}</h3><p class="legend quiet">{spans}</p>')
        for sheet in sheets:
            figures = "".join(map(_figure, sheet.tiles))
            grid = "tiles three" if sheet.by_sequence else "tiles"
            parts.append(f'<h4>{KINDS[sheet.kind]}</h4><div class="{grid}">{figures}</div>')
    intro = (
        "Each picture is the part of the frame around the target; below it are the sequence, the frame and the "
        "tracker's overlap with the true box. A first failure is the first frame from which the overlap stays below "
        "0.1 for ten frames, or to the end."
    )
    return f'<p class="quiet">{intro}</p>' + "\n".join(parts) if parts else ""


def _figure(tile: Tile) -> str:
    picture = _picture(tile.jpeg(), "jpeg", tile.caption)
    return f"<figure>{picture}<figcaption>{escape(tile.caption)}</figcaption></figure>"


def _table(table: Table, *, best_in: str = "", means: bool = False, graded: bool = False, total: bool = False) -> str:
    """Returns a table as HTML.

    best_in: marks the best cells of each "column" or "row"
    means: the cells are means over sequences; if a note says that the sequences differ, no cell is marked as best
    graded: shades numbers from 0 to 1
    total: the last row holds means
    """
    uneven, rows = bool(table.note), range(len(table.rows))
    compared = [row for row in rows if not (uneven and (means or (total and row == rows[-1])))]
    best = set()
    if best_in == "column":
        for column, name in enumerate(table.header[1:], 1):
            if name not in _NOT_RANKED:
                best |= _best(((row, column) for row in compared), table, name in _LOWER_IS_BETTER)
    elif best_in == "row":
        for row in compared:
            best |= _best(((row, column) for column in range(1, len(table.header))), table)
    head = "".join(f'<th scope="col">{_breakable(cell)}</th>' for cell in table.header)
    body = []
    for row, (first, *cells) in enumerate(table.rows):
        written = [f'<th scope="row">{_breakable(first)}</th>']
        for column, cell in enumerate(cells, 1):
            marked = ' class="best"' if (row, column) in best else ""
            value = _value(cell)
            shade = f' style="--v:{min(max(value, 0), 1):.2f}"' if graded and not math.isnan(value) else ""
            written.append(f"<td{marked}{shade}>{escape(cell)}</td>")
        last = ' class="total"' if total and row == len(table.rows) - 1 else ""
        body.append(f"<tr{last}>{''.join(written)}</tr>")
    note = f'<p class="quiet">{escape(table.note)}</p>' if table.note else ""
    kind = ' class="graded"' if graded else ""
    inside = f"<thead><tr>{head}</tr></thead><tbody>\n" + "\n".join(body) + "\n</tbody>"
    return f'<div class="scroll"><table{kind}>{inside}</table></div>{note}'


def _breakable(name: str) -> str:
    """Allows line breaks after hyphens, slashes and underscores, but not within words."""
    return re.sub(r"(?<=[^\W_])([_/-])", r"\1<wbr>", escape(name))


def _best(cells: Iterable[tuple[int, int]], table: Table, lowest: bool = False) -> set[tuple[int, int]]:
    """Returns the cells with the best number as printed; empty if fewer than two can be compared."""
    values = {cell: value for cell in cells if not math.isnan(value := _value(table.rows[cell[0]][cell[1]]))}
    if len(values) < 2:
        return set()
    choose: Callable[[Iterable[float]], float] = min if lowest else max
    best = choose(values.values())
    return {cell for cell, value in values.items() if value == best}


def _value(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _picture(data: bytes, kind: str, text: str) -> str:
    return f'<img alt="{escape(text)}" src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'


def _label(plot: str, content: Page) -> str:
    names: Sequence[str] = [tracker.name for tracker in content.evaluation.trackers]
    return f"{plot.replace('_', ' ')} plot of {', '.join(names)}"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


def _swatch(ink: str) -> str:
    return f'<span class="swatch" style="background:{ink}"></span>'
