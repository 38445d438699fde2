/** A chart for documents: bars with intervals in panels side by side, as one SVG that follows the reader's light or dark. */

export interface Row {
  readonly name: string;
  readonly isBaseline: boolean;
  readonly median: number;
  readonly low: number;
  readonly high: number;
  readonly label: string;
}

export interface Panel {
  readonly title: string;
  readonly note: string;
  readonly rows: readonly Row[];
}

const sizes = { names: 190, panel: 320, gap: 30, head: 74, row: 30, bar: 16, value: 62 } as const;

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

const px = (value: number): string => String(Math.round(value * 10) / 10);

const style = `
  text { font: 13px system-ui, sans-serif; fill: #1b1f24; } .title { font-weight: 600; } .soft { fill: #59636e; }
  .measured { fill: #0072b2; } .baseline { fill: #8a939c; } .whisker { stroke: #1b1f24; stroke-width: 1.5; }
  .axis { stroke: #8a939c; } .back { fill: #ffffff; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e8ecf0; } .soft { fill: #a4adb6; } .measured { fill: #56b4e9; } .whisker { stroke: #e8ecf0; }
    .back { fill: #14181c; }
  }`;

/** All panels have the same rows, named once on the left. */
export function panelsSvg(panels: readonly Panel[], title: string): string {
  const names = [...new Set(panels.flatMap(({ rows }) => rows.map(({ name }) => name)))];
  const width = sizes.names + panels.length * (sizes.panel + sizes.gap);
  const height = sizes.head + names.length * sizes.row + 14;
  const top = (name: string): number => sizes.head + names.indexOf(name) * sizes.row;
  const middle = (name: string): number => top(name) + sizes.row / 2 + 4.5;
  const labels = names.map(
    (name) => `<text x="${sizes.names - 10}" y="${px(middle(name))}" text-anchor="end">${escaped(name)}</text>`,
  );
  const drawn = panels.map((panel, index) => {
    const left = sizes.names + index * (sizes.panel + sizes.gap);
    const largest = Math.max(...panel.rows.map(({ high }) => high));
    const at = (value: number): string => px(left + (value / largest) * (sizes.panel - sizes.value));
    const rows = panel.rows.map(({ name, isBaseline, median, low, high, label }) => {
      const y = top(name) + (sizes.row - sizes.bar) / 2;
      const line = y + sizes.bar / 2;
      const end = (value: number): string => `M${at(value)} ${px(line - 4)}v8`;
      return [
        `<rect class="${isBaseline ? 'baseline' : 'measured'}" x="${left}" y="${px(y)}" width="${px(Number(at(median)) - left)}" height="${sizes.bar}"/>`,
        `<path class="whisker" d="M${at(low)} ${px(line)}H${at(high)}${end(low)}${end(high)}"/>`,
        `<text x="${px(Number(at(Math.max(median, high))) + 8)}" y="${px(middle(name))}">${escaped(label)}</text>`,
      ].join('\n');
    });
    return [
      `<text class="title" x="${left}" y="48">${escaped(panel.title)}</text>`,
      `<text class="soft" x="${left}" y="65">${escaped(panel.note)}</text>`,
      ...rows,
      `<path class="axis" d="M${left}.5 ${sizes.head}V${px(height - 14)}"/>`,
    ].join('\n');
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-labelledby="title">
<title id="title">${escaped(title)}</title>
<style>${style}
</style>
<rect class="back" width="${width}" height="${height}"/>
<text class="title" x="12" y="22">${escaped(title)}</text>
${labels.join('\n')}
${drawn.join('\n')}
</svg>
`;
}
