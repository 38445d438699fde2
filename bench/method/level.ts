/**
 * Is a series of measurements level in its second half? What is held up to a bound grows until the bound is reached, so the
 * first half says nothing; of the second, the mean of its later half is compared with that of its earlier half.
 */

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

export interface Level {
  readonly earlier: number;
  readonly later: number;
  readonly isLevel: boolean;
}

/** What a collector that comes now and then leaves to chance: beyond this, the later half is growth. */
const tolerance = { share: 1.08, absolute: 8 };

export function levelOf(series: readonly number[]): Level {
  const half = series.slice(Math.floor(series.length / 2));
  if (half.length < 4) throw new TypeError(`expected a series of at least 7 values, got ${series.length}`);
  const middle = Math.floor(half.length / 2);
  const [earlier, later] = [mean(half.slice(0, middle)), mean(half.slice(middle))];
  return { earlier, later, isLevel: later <= earlier * tolerance.share + tolerance.absolute };
}
