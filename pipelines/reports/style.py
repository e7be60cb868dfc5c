"""The style sheet of report pages: light and dark, phone and desktop, no font from elsewhere."""

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #fbfbfa; --card: #ffffff; --ink: #1b1c1e; --soft: #5d6167; --line: #e3e4e1;
  --accent: #1459c7; --good: #0b6b3a; --bad: #b3261e; --bad-ground: #fdf1f0; --bar: #dbe7fb;
  --series-1: #1459c7; --series-2: #b25a00; --series-3: #0b7a55; --series-4: #a1307f;
  --series-5: #6a4bc4; --series-6: #7b6a00; --series-7: #00758a; --series-8: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #131416; --card: #1b1d20; --ink: #ececea; --soft: #a0a4aa; --line: #303338;
    --accent: #83b1ff; --good: #6fd39b; --bad: #ff9d94; --bad-ground: #2e1d1c; --bar: #25395c;
    --series-1: #83b1ff; --series-2: #f2a65a; --series-3: #5fd0a5; --series-4: #ee8fd0;
    --series-5: #b5a0ff; --series-6: #d9c64f; --series-7: #5cc9dd; --series-8: #ff9d94;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  -webkit-text-size-adjust: 100%;
}
main, header, footer { max-width: 1080px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 44px; }
h1 { font-size: clamp(1.7rem, 4.5vw, 2.5rem); line-height: 1.15; letter-spacing: -.02em;
  margin: 0; overflow-wrap: anywhere; text-wrap: balance; }
h2 { font-size: 1.25rem; letter-spacing: -.01em; margin: 0 0 4px; }
h3 { font-size: .95rem; margin: 24px 0 8px; font-weight: 600; }
section { margin-top: 52px; }
p { margin: 0 0 14px; max-width: 68ch; }
.soft, .lead { color: var(--soft); }
.lead { margin-bottom: 18px; }
.facts { display: flex; flex-wrap: wrap; gap: 4px 28px; margin: 14px 0 0; padding: 0; }
.facts div { display: flex; gap: 8px; min-width: 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr));
  margin: 30px 0 0; background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  overflow: hidden; }
.tiles div { box-shadow: 0 0 0 .5px var(--line); padding: 16px 18px; display: flex;
  flex-direction: column-reverse; justify-content: flex-end; }
.tiles dt { font-size: .85rem; }
.tiles dd { font-size: 1.75rem; font-weight: 640; letter-spacing: -.02em; line-height: 1.25; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 12px;
  background: var(--card); }
.scroll:focus-visible, summary:focus-visible, video:focus-visible, a:focus-visible {
  outline: 3px solid var(--accent); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 10px 16px; text-align: right; white-space: nowrap;
  border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--soft); font-weight: 500; font-size: .85rem; }
th:first-child, td:first-child, .text { text-align: left; }
tbody th { font-weight: 500; }
td.text { white-space: normal; min-width: 16rem; overflow-wrap: anywhere; }
th.wide { white-space: normal; overflow-wrap: anywhere; min-width: 9rem; max-width: 24rem; }
.best { font-weight: 680; }
tr.total > * { border-top: 2px solid var(--line); }
.meter { display: inline-block; width: 64px; height: 8px; margin-right: 10px; border-radius: 4px;
  background: var(--line); vertical-align: 1px; overflow: hidden; }
.meter i { display: block; height: 100%; background: var(--accent); border-radius: 4px; }
.gain { color: var(--good); } .loss { color: var(--bad); }
.tag { display: inline-block; padding: 1px 9px; border-radius: 99px; font-size: .8rem;
  background: var(--bar); color: var(--ink); margin-left: 8px; }
.chart { margin: 0; padding: 16px 20px 10px; background: var(--card);
  border: 1px solid var(--line); border-radius: 12px; }
.plot { position: relative; height: clamp(190px, 34vw, 290px); margin: 26px 8px 22px 40px; }
.plot svg { position: absolute; inset: 0; width: 100%; height: 100%; overflow: hidden; }
.plot path { fill: none; vector-effect: non-scaling-stroke; stroke-linejoin: round;
  stroke-linecap: round; }
.grid { stroke: var(--line); stroke-width: 1; }
.mark { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 3 4; }
.raw { stroke-width: 1; opacity: .28; } .mean { stroke-width: 2.2; }
.tick, .name { position: absolute; font-size: .75rem; color: var(--soft); line-height: 1;
  font-variant-numeric: tabular-nums; }
.tick.y { right: 100%; transform: translate(-10px, -50%); }
.tick.x { top: 100%; transform: translate(-50%, 9px); }
.name { bottom: 100%; transform: translate(2px, -6px); font-weight: 600; white-space: nowrap; }
.axis { text-align: center; font-size: .8rem; color: var(--soft); margin-top: 6px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 20px; margin: 0; padding: 0; list-style: none;
  font-size: .88rem; }
.legend b { font-weight: 600; font-variant-numeric: tabular-nums; }
.swatch { display: inline-block; width: 14px; height: 4px; border-radius: 2px; margin-right: 7px;
  vertical-align: 3px; }
.s1 { stroke: var(--series-1); } .swatch.s1 { background: var(--series-1); }
.s2 { stroke: var(--series-2); } .swatch.s2 { background: var(--series-2); }
.s3 { stroke: var(--series-3); } .swatch.s3 { background: var(--series-3); }
.s4 { stroke: var(--series-4); } .swatch.s4 { background: var(--series-4); }
.s5 { stroke: var(--series-5); } .swatch.s5 { background: var(--series-5); }
.s6 { stroke: var(--series-6); } .swatch.s6 { background: var(--series-6); }
.s7 { stroke: var(--series-7); } .swatch.s7 { background: var(--series-7); }
.s8 { stroke: var(--series-8); } .swatch.s8 { background: var(--series-8); }
.charts { display: grid; gap: 16px; }
.videos { display: grid; gap: 20px; margin-top: 16px; grid-auto-flow: dense;
  grid-template-columns: repeat(auto-fill, minmax(min(300px, 100%), 1fr)); }
.video { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  overflow: hidden; display: flex; flex-direction: column; }
.video video { width: 100%; display: block; background: #000; aspect-ratio: 16 / 10; }
.video img { width: 100%; min-width: 760px; display: block; }
.video .frames { overflow-x: auto; }
.video.strip { grid-column: 1 / -1; }
.video figcaption { padding: 12px 16px 14px; font-size: .9rem; }
.video b { display: block; overflow-wrap: anywhere; font-weight: 600; }
.failed { border-color: var(--bad); background: var(--bad-ground); }
details { margin-top: 14px; } summary { cursor: pointer; color: var(--accent); }
details .scroll { margin-top: 12px; }
code { font: .88em ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
footer { margin-top: 64px; }
footer p { max-width: none; padding: 18px 0 30px; color: var(--soft); font-size: .88rem;
  border-top: 1px solid var(--line); }
nav { display: flex; flex-wrap: wrap; gap: 6px 22px; margin-top: 22px; font-size: .93rem; }
a { color: var(--accent); text-underline-offset: 3px; text-decoration-thickness: 1px; }
.number { display: inline-block; min-width: 3.2em; }
.note { border-left: 3px solid var(--line); padding: 2px 0 2px 16px; color: var(--soft); }
.note ul { margin: 4px 0 0; padding-left: 18px; }
@media (max-width: 560px) {
  main, header, footer { padding-left: 16px; padding-right: 16px; }
  header { padding-top: 28px; } section { margin-top: 40px; }
  th, td { padding: 9px 12px; } .chart { padding: 14px 12px 8px; }
  .tiles { grid-template-columns: 1fr 1fr; } .tiles div { padding: 13px 15px; }
  .tiles dd { font-size: 1.4rem; }
  .facts { flex-direction: column; } .meter { display: none; }
}
@media print { body { background: #fff; } .chart, .video, table { break-inside: avoid; } }
"""
