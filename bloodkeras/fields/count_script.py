"""The look and the script of the page of a differential. Nothing here asks a network.

Flow: gives CSS, and JavaScript that reads the page's figures and writes its numbers.
"""

STYLE = """.tiles figure { cursor: pointer; } .tiles figure:hover { border-color: var(--ink); }
figure.chosen, figure:focus-visible { outline: 3px solid var(--bar); }
.tiles figure.mine { border-top-color: var(--bar); } .mine em { color: var(--bar); }
.tiles img { image-rendering: auto; } .tiles figcaption span { white-space: normal; }
.wide-tiles { display: grid; gap: 10px; align-items: start;
              grid-template-columns: repeat(auto-fill, minmax(290px, 1fr)); }
.wide-tiles span { display: inline; white-space: normal; color: inherit; font-size: inherit; }
.wide-tiles img { display: block; width: 100%; }
table { max-width: 620px; } .scroll { width: fit-content; max-width: 100%; }
button { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line);
         border-radius: 7px; padding: 4px 11px; cursor: pointer; }
h2 button { font-size: 14px; font-weight: 400; margin-left: 8px; }
button:hover { border-color: var(--ink); } button.on { background: var(--ink); color: var(--card); }
#chooser { position: fixed; left: 0; right: 0; bottom: 0; padding: 8px 16px 14px; z-index: 2;
           background: var(--card); border-top: 2px solid var(--bar); }
#chooser p { margin: 0 0 6px; } #chooser div { display: flex; flex-wrap: wrap; gap: 6px; }
[hidden] { display: none !important; } .choosing { padding-bottom: 190px; }
@media print { #save, #chooser, .hint { display: none !important; } }
"""
SCRIPT = """
const all = s => [...document.querySelectorAll(s)], one = s => document.querySelector(s);
const tiles = all('.tiles figure'), chooser = one('#chooser'), home = new Map();
for (const t of tiles) home.set(t, t.dataset.l);
let chosen = null, saved = true;
function wilson(hits, count) {
  if (!count) return [0, 1];
  const share = hits / count, z = 1.96 ** 2 / count, middle = (share + z / 2) / (1 + z);
  const half = 1.96 * Math.sqrt(share * (1 - share) / count + z / (4 * count)) / (1 + z);
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}
const percent = x => (100 * x).toFixed(1) + '%';
function count() {
  const n = {...told.unseen};
  for (const t of tiles) n[t.dataset.l] = (n[t.dataset.l] || 0) + 1;
  const of = name => n[name] || 0, total = told.white.reduce((sum, name) => sum + of(name), 0);
  for (const row of all('tr[data-l]')) {
    const k = of(row.dataset.l), [low, high] = wilson(k, total), cells = row.querySelectorAll('td');
    cells[0].textContent = k.toLocaleString('en'); cells[1].textContent = percent(k / (total || 1));
    cells[2].textContent = percent(low) + ' to ' + percent(high);
  }
  one('#total').textContent = total.toLocaleString('en');
  one('#few').hidden = total >= told.few;
  if (one('#red')) {
    const k = of(told.red), [low, high] = wilson(k, k + total);
    const odds = p => (100 * p / Math.max(1 - p, 1e-9)).toFixed(1);
    one('#red').textContent = !(k + total) ? told.unnamed :
      (100 * k / (total || 1)).toFixed(1) + ' for every 100 white cells (' +
      odds(low) + ' to ' + odds(high) + ')';
  }
}
function choose(tile) {
  if (chosen) chosen.classList.remove('chosen');
  chosen = tile; chooser.hidden = !tile; document.body.classList.toggle('choosing', !!tile);
  if (!tile) return;
  tile.classList.add('chosen'); tile.scrollIntoView({block: 'center', behavior: 'smooth'});
  one('#which').textContent = tile.dataset.file;
  for (const b of all('#chooser button'))
    b.classList.toggle('on', b.dataset.name === tile.dataset.l);
}
function name(tile, label) {
  const mine = label !== '';
  tile.dataset.l = mine ? label : home.get(tile);
  tile.classList.toggle('mine', mine);
  const note = tile.querySelector('em');
  note.hidden = !mine;
  note.textContent = mine ? 'you: ' + (label === told.none ? 'none of these' : label) : '';
  for (const s of all('[data-of]')) if (s.dataset.of === tile.dataset.file)
    s.textContent = mine ? label : s.dataset.was ??= s.textContent;
  const to = all('section[data-l]').find(s => s.dataset.l === tile.dataset.l);
  to.querySelector('.tiles').append(tile);
  for (const s of all('section[data-l]')) s.hidden = !s.querySelector('figure');
  saved = false; count(); choose(null);
}
for (const s of all('[data-of]')) s.dataset.was = s.textContent;
for (const t of tiles) {
  t.onclick = () => choose(chosen === t ? null : t);
  t.onkeydown = e => { if (e.key === 'Enter' || e.key === ' ') { e.preventDefault(); t.click(); } };
}
for (const b of all('#chooser button')) b.onclick = () => name(chosen, b.dataset.name);
for (const b of all('[data-nearest]')) b.onclick = () => {
  for (const t of b.closest('section').querySelectorAll('figure')) name(t, t.dataset.near);
};
document.onkeydown = e => { if (e.key === 'Escape') choose(null); };
one('#save').onclick = () => {
  const quoted = s => /[",]/.test(s) ? '"' + s.replaceAll('"', '""') + '"' : s;
  const rows = tiles.filter(t => told.labels.includes(t.dataset.l))
    .map(t => quoted(t.dataset.file) + ',' + quoted(t.dataset.l));
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob(['file,label\\n', rows.sort().join('\\n'), '\\n'],
    {type: 'text/csv'}));
  link.download = 'labels.csv'; link.click(); URL.revokeObjectURL(link.href);
  one('#said').textContent = rows.length + ' cells in labels.csv'; saved = true;
};
window.onbeforeunload = e => { if (!saved) e.preventDefault(); };
"""
