/**
 * How V8 keeps the heap of a server. By itself it lets a heap of 60 MB grow to two or three times that before it collects,
 * and buffers outside of it grow meanwhile: at a steady load the process would be as large as what has not been looked at.
 */
import { setFlagsFromString } from 'node:v8';

/** Collect when the heap is so much larger than what the last collection left. */
const growthPercent = 40;

export function keepHeapSmall(): void {
  setFlagsFromString(`--heap-growing-percent=${growthPercent}`);
  // A server at rest is collected once, not until nothing more is found: each time costs as much as a minute of rest.
  setFlagsFromString('--memory-reducer-single-gc');
}
