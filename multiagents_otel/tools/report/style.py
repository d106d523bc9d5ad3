"""The page's style sheet: light and dark, wide and narrow, and on paper."""

from __future__ import annotations

from typing import Final

_LIGHT: Final = """\
  --ground: #ffffff; --raised: #f6f7f9; --ink: #1c2330; --faint: #5b6575; --rule: #d9dee6;
  --good: #1a7f4b; --bad: #b3261e; --warn-ground: #fff4d6; --warn-ink: #5c4400;
  --completed: #3b7dd8; --compensated: #e39a1c; --failed: #cf3b2f; --stalled: #8a4fbf; --cancelled: #9aa3b0;
  --first: #3b7dd8; --second: #e07b1a; --earlier: #7d8796;"""

_DARK: Final = """\
  --ground: #12161d; --raised: #1b212b; --ink: #e6e9ef; --faint: #9aa5b5; --rule: #323b49;
  --good: #5fd394; --bad: #ff8a80; --warn-ground: #3a3010; --warn-ink: #ffe09a;
  --completed: #6aa5f5; --compensated: #f0b344; --failed: #f0685c; --stalled: #b78ae6; --cancelled: #77818f;
  --first: #6aa5f5; --second: #f59b4a; --earlier: #8b95a5;"""

STYLE: Final = (
    f"""\
:root {{ color-scheme: light dark;
{_LIGHT}
}}
@media (prefers-color-scheme: dark) {{ :root {{
{_DARK}
}} }}
"""
    + """\
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 84rem; padding: 1.5rem; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem; }
p { margin: .2rem 0; }
.faint, .words { color: var(--faint); }
.words { margin-bottom: .5rem; }
.headline { font-size: 1.1rem; margin-top: .8rem; }
.note { background: var(--warn-ground); color: var(--warn-ink); padding: .5rem .8rem; border-radius: .4rem;
  margin: .6rem 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .8rem; padding: 0;
  margin: 1.2rem 0; list-style: none; }
.cards li { display: flex; flex-direction: column; background: var(--raised); border: 1px solid var(--rule);
  border-radius: .5rem; padding: .7rem .9rem; }
.cards b { margin-top: auto; font-size: 1.5rem; line-height: 1.3; font-weight: 650; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 32rem), 1fr)); gap: 1rem;
  margin-top: 1.2rem; }
figure { margin: 0; background: var(--raised); border: 1px solid var(--rule); border-radius: .5rem; padding: .8rem;
  min-width: 0; }
figcaption { font-weight: 600; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem .9rem; font-size: .85rem; color: var(--faint); }
.legend i { display: inline-block; width: .75rem; height: .75rem; border-radius: .15rem; margin-right: .35rem;
  background: currentColor; vertical-align: -.05rem; }
.plot, .scroll { overflow-x: auto; }
.plot svg { display: block; width: 100%; min-width: 30rem; height: auto; }
svg text { font-size: 11px; fill: var(--faint); }
svg text.label { fill: var(--ink); }
svg .grid { stroke: var(--rule); stroke-width: 1; }
svg rect, svg circle { fill: currentColor; }
svg .line { fill: none; stroke: currentColor; stroke-width: 1.8; stroke-linejoin: round; }
svg .line.earlier, svg .line.objective { stroke-dasharray: 5 4; stroke-width: 1.3; }
svg circle.earlier, svg circle.objective { fill: none; pointer-events: all; }
.completed { color: var(--completed); } .compensated { color: var(--compensated); } .failed { color: var(--failed); }
.stalled { color: var(--stalled); } .cancelled { color: var(--cancelled); } .first, .bar { color: var(--first); }
.second { color: var(--second); } .earlier { color: var(--earlier); } .objective { color: var(--good); }
.heat { color: var(--failed); } .cold { color: var(--rule); opacity: .5; }
.strip { display: block; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; min-width: 100%; }
th, td { padding: .3rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule); }
th { color: var(--faint); font-weight: 600; font-size: .85rem; }
tbody th { color: var(--ink); font-weight: 500; font-size: inherit; }
.left { text-align: left; }
tbody .left { white-space: normal; overflow-wrap: anywhere; min-width: 11rem; }
.good { color: var(--good); } .bad { color: var(--bad); } .dim { color: var(--faint); }
summary { cursor: pointer; color: var(--faint); margin: 1rem 0 .4rem; }
footer { margin-top: 2.5rem; border-top: 1px solid var(--rule); padding-top: .7rem; color: var(--faint);
  font-size: .85rem; }
@media (max-width: 40rem) { body { padding: .8rem; } th, td { padding: .3rem .45rem; } }
@media print {
  :root { color-scheme: light;
"""
    + _LIGHT
    + """
  }
  body { max-width: none; padding: 0; font-size: 10pt; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  figure, tr, .cards li { break-inside: avoid; }
  h2 { break-after: avoid; }
  .plots { grid-template-columns: 1fr 1fr; }
  .plot, .scroll { overflow: visible; }
  .plot svg { min-width: 0; }
  th, td { padding: .15rem .35rem; white-space: normal; }
}
"""
)
