/** One look for screens light and dark, and for paper. */
export const style = `
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --line: #d4d9df; --paper: #ffffff; --panel: #f5f7f9;
  --best: #0b6b50; --bestback: #ddf3ea; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ecf0; --soft: #a4adb6; --line: #3a424b; --paper: #14181c;
  --panel: #1d2329; --best: #6fe0b6; --bestback: #12372b; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 24px 20px 60px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 26px; line-height: 1.2; margin: 8px 0; } h2 { font-size: 20px; margin: 40px 0 8px; }
h3 { font-size: 16px; margin: 24px 0 4px; } p { margin: 6px 0; } .soft { color: var(--soft); }
nav a { margin-right: 14px; } a { color: inherit; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; margin: 8px 0; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 9px; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { font-weight: 600; } tbody th { white-space: nowrap; } tr.baseline { background: var(--panel); }
td .range { color: var(--soft); font-size: 12px; display: block; white-space: nowrap; } td .main { white-space: nowrap; }
td.vague .main { font-style: italic; color: var(--soft); } td.best { background: var(--bestback); }
td.best .main { color: var(--best); font-weight: 700; }
figure { margin: 18px 0; } figcaption { margin-bottom: 2px; } figcaption b { display: block; }
figure svg { max-width: 100%; height: auto; overflow: visible; }
@media screen and (max-width: 640px) { body { padding: 12px 12px 40px; } figure svg { max-width: none; }
  tbody th { white-space: normal; min-width: 8em; } th, td { padding: 4px 6px; } }
pre { background: var(--panel); padding: 10px 12px; overflow-x: auto; font-size: 13px; border-radius: 4px; white-space: pre-wrap; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(270px, 1fr)); gap: 2px 18px; margin: 10px 0; font-size: 13px; }
dl div { border-bottom: 1px solid var(--line); padding: 3px 0; } dt { color: var(--soft); display: inline; }
dt::after { content: ': '; } dd { display: inline; margin: 0; overflow-wrap: anywhere; }
ul { margin: 6px 0; padding-left: 22px; } summary { cursor: pointer; }
.warn { border-left: 4px solid #d55e00; padding: 2px 12px; background: var(--panel); }
@media print { :root { color-scheme: light; --ink: #000000; --soft: #444444; --line: #bbbbbb; --paper: #ffffff;
  --panel: #f5f5f5; --best: #0b6b50; --bestback: #e6f5ee; }
  figure, tr { break-inside: avoid; } h2, h3 { break-after: avoid; } nav { display: none; }
  .wide { overflow: visible; } table { font-size: 9px; } th, td { padding: 2px 4px; } td .main, td .range, tbody th { white-space: normal; }
  td .range { font-size: 8px; } body { max-width: none; padding: 0; font-size: 12px; } figure svg { max-width: 100%; } }
`;
