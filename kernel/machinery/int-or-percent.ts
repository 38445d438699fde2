/** A number of pods, or a share of `total` that `round` makes whole. Text that is neither counts as 0. */
export function intOrPercent(
  value: number | string | undefined,
  total: number,
  round: (share: number) => number,
  otherwise: number | string = 0,
): number {
  const given = value ?? otherwise;
  if (typeof given === 'number') return given;
  const match = /^(\d+)%$/.exec(given);
  if (match !== null) return round((Number(match[1]) * total) / 100);
  return /^\d+$/.test(given) ? Number(given) : 0;
}
