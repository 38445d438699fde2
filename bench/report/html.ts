import type { Result } from '../method/result.ts';
import { markdownOf } from './tables.ts';

export function htmlOf(result: Result): string {
  return markdownOf(result);
}
