import type { StoreChange } from '../../contract/store.ts';
import { PintleError } from '../../contract/errors.ts';
import { checkKey, checkValue } from './key-order.ts';
import { checkRevision } from './keyspace.ts';

/** Throws STORE_INVALID when a transaction breaks a rule of the contract that needs no look at the store. */
export function checkChanges(changes: readonly StoreChange[]): void {
  for (const { key, value, expected } of changes) {
    checkKey(key);
    if (value !== undefined) checkValue(key, value);
    if (expected !== undefined) checkRevision(expected, 0);
  }
  if (changes.length > 1 && new Set(changes.map(({ key }) => key)).size < changes.length)
    throw new PintleError('STORE_INVALID', 'A transaction names one key twice; expected each key at most once.');
}
