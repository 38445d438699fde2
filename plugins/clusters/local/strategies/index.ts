/** Every strategy by the path of its storage. */
import type { Strategy } from './strategy.ts';

export function strategies(): ReadonlyMap<string, Strategy> {
  return new Map<string, Strategy>([]);
}
