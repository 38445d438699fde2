/** Sets of completion indexes, in status and specs as text: "0,2-5,9". */

export function parseIndexes(text: string | undefined, limit: number): Set<number> {
  const indexes = new Set<number>();
  for (const part of (text ?? '').split(',')) {
    const match = /^(\d+)(?:-(\d+))?$/.exec(part.trim());
    if (match === null) continue;
    const last = Math.min(Number(match[2] ?? match[1]), limit - 1);
    for (let index = Number(match[1]); index <= last; index++) indexes.add(index);
  }
  return indexes;
}

/** Two in a row stay apart ("3,4"), three and more become a range, as Kubernetes writes them. */
export function formatIndexes(indexes: ReadonlySet<number>): string {
  const sorted = [...indexes].toSorted((a, b) => a - b);
  const parts: string[] = [];
  for (let at = 0; at < sorted.length;) {
    let end = at;
    while (sorted[end + 1] === (sorted[end] as number) + 1) end++;
    const first = String(sorted[at]);
    if (end > at) parts.push(`${first}${end === at + 1 ? ',' : '-'}${sorted[end]}`);
    else parts.push(first);
    at = end + 1;
  }
  return parts.join(',');
}
