"""The look that every page shares, and the one script of the page of answers.

Flow: imports nothing; is written into a page as it stands.
"""


def head(title: str, style: str = "", scripts: bool = False) -> str:
    """Return the start of a page, up to its body.

    Args:
        title: HTML, of the browser's tab.
        style: CSS beside the shared one.
        scripts: Whether the page may run any.
    """
    # The policy forbids a page any network, whatever a file name may have smuggled in.
    allowed = "; script-src 'unsafe-inline'" if scripts else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:;
 style-src 'unsafe-inline'{allowed}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{STYLE}{style}</style></head><body>
"""


STYLE = """:root { --ink: #22262b; --soft: #68717c; --line: #dfe3e8; --paper: #f5f6f8; --card: #fff;
        --accepted: #3b8266; --unsure: #e0a020; --foreign: #b4447a; color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1240px; padding: 24px; color: var(--ink);
       background: var(--paper); font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 26px; margin: 0; font-weight: 650; }
h1 em { font-style: normal; color: var(--accepted); }
header p { margin: 4px 0; color: var(--soft); }
header .warn { color: #8a2b2b; font-weight: 600; }
table { width: 100%; margin: 18px 0; padding: 10px 14px; background: var(--card);
        border: 1px solid var(--line); border-radius: 10px; border-spacing: 0; }
th { text-align: right; padding: 4px 0 8px; width: 122px; vertical-align: bottom; }
th:first-child { text-align: left; width: 190px; } th:last-child { width: 80px; }
th:last-child, td:last-child { padding-right: 10px; font-weight: 600; }
th:last-child b { display: block; }
 th:nth-child(2) { width: auto; }
td { padding: 2px 0; } td.n { text-align: right; font-variant-numeric: tabular-nums;
     padding-right: 10px; }
tbody tr { cursor: pointer; } tbody tr:hover td { background: var(--paper); }
.bar { white-space: nowrap; font-size: 0; }
.bar i { display: inline-block; height: 14px; }
i.accepted { background: var(--accepted); } i.unsure { background: var(--unsure); }
i.foreign { background: var(--foreign); }
button { font: inherit; color: inherit; background: none; border: 1px solid transparent;
         border-radius: 7px; padding: 2px 9px; cursor: pointer; text-align: left; }
button:hover { border-color: var(--line); }
th button i { display: inline-block; width: 10px; height: 10px; border-radius: 5px;
              margin-right: 6px; }
th b { font-weight: 600; } th button { font-weight: 400; white-space: nowrap; }
th button b { display: block; text-align: right; }
[data-all] { border-color: var(--line); font-weight: 400; }
.on > td > button, button.on { background: var(--ink); color: #fff; }
details { margin: 0 0 18px; padding: 10px 14px; background: #fdf1f1; border-radius: 10px;
          border: 1px solid #ecc9c9; overflow-wrap: anywhere; }
summary { cursor: pointer; font-weight: 600; color: #8a2b2b; }
h2 { font-size: 19px; margin: 26px 0 10px; } h2 small { font-weight: 400; color: var(--soft); }
.tiles { display: grid; gap: 10px; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); overflow: hidden;
         border-radius: 8px; border-top: 4px solid var(--accepted); }
figure[data-v=unsure] { border-top-color: var(--unsure); }
figure[data-v=foreign] { border-top-color: var(--foreign); }
img { display: block; width: 100%; aspect-ratio: 1; image-rendering: pixelated; }
figcaption { padding: 5px 8px 7px; font-size: 12px; line-height: 1.35; }
figcaption > * { display: block; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
figcaption b, figcaption i { display: flex; justify-content: space-between; }
figcaption s { text-decoration: none; font-variant-numeric: tabular-nums; }
figcaption i { font-style: normal; color: var(--soft); }
figcaption span { color: var(--soft); font-size: 11px; }
figcaption em { font-size: 11px; white-space: normal; }
[hidden] { display: none !important; }
"""

SCRIPT = """
let verdict = null, label = null;
const all = s => document.querySelectorAll(s);
function show() {
  for (const f of all('figure'))
    f.hidden = (verdict && f.dataset.v !== verdict) || (label && f.dataset.l !== label);
  for (const s of all('section')) s.hidden = !s.querySelector('figure:not([hidden])');
  for (const b of all('th [data-v]')) b.classList.toggle('on', b.dataset.v === verdict);
  for (const r of all('tbody tr')) r.classList.toggle('on', r.dataset.l === label);
}
for (const b of all('th [data-v]'))
  b.onclick = () => { verdict = verdict === b.dataset.v ? null : b.dataset.v; show(); };
for (const r of all('tbody tr'))
  r.onclick = () => { label = label === r.dataset.l ? null : r.dataset.l; show(); };
document.querySelector('[data-all]').onclick = () => { verdict = label = null; show(); };
"""
