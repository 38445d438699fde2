import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../contract/index.ts';

/** The machine's own time. */
export const systemClock: Clock = {
  now: () => Date.now(),
  async sleep(ms, signal) {
    try {
      await sleep(ms, undefined, { signal });
    } catch (error) {
      // node's timers reject with an AbortError of their own; the contract promises the reason
      if (signal?.aborted === true) throw signal.reason;
      throw error;
    }
  },
};
