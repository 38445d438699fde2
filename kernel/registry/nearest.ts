/** The known name closest to what was written, when it is close enough to be a slip of the hand. */
export function nearest(written: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.min(3, Math.max(1, Math.floor(written.length / 3))) + 1;
  for (const name of known) {
    const isCutShort = written.length >= 3 && name.startsWith(written);
    const distance = isCutShort ? 1 : editDistance(written.toLowerCase(), name.toLowerCase());
    if (distance < bestDistance) {
      best = name;
      bestDistance = distance;
    }
  }
  return best;
}

/** "did you mean `vxlan`? Known: host-gw, vxlan".  */
export function suggestion(written: string, known: readonly string[]): string {
  if (known.length === 0) return 'none is known';
  const close = nearest(written, known);
  return `${close === undefined ? '' : `did you mean \`${close}\`? `}Known: ${known.toSorted().join(', ')}`;
}

/** Damerau-Levenshtein (neighbours swapped count as one slip), over UTF-16 units; long texts are cut. */
function editDistance(left: string, right: string): number {
  const a = left.slice(0, 64);
  const b = right.slice(0, 64);
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap =
        i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? beforePrevious[j - 2]! + 1 : Infinity;
      const substitute = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(previous[j]! + 1, current[j - 1]! + 1, substitute, swap));
    }
    beforePrevious = previous;
    previous = current;
  }
  return previous[b.length]!;
}
