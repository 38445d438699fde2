/**
 * How V8 keeps the heap of a server. By itself it lets a heap of 60 MB grow to two or three times that before it collects,
 * and buffers outside of it grow meanwhile: at a steady load the process would be as large as what has not been looked at.
 * In a storm of thousands of objects a second, collecting so often would take a fifth of a processor or more from whoever
 * waits, for memory that is wanted again at once: the heap may double then.
 */
import { constants, PerformanceObserver, type PerformanceEntry } from 'node:perf_hooks';
import { getHeapStatistics, setFlagsFromString } from 'node:v8';

/** Collect when the heap is so much larger than what the last collection left. */
const growthPercent = 40;
const stormGrowthPercent = 100;
/** A collection takes about 1 ms a megabyte, most of it on other threads: more often than this is above 4 % of a processor. */
const calmMsPerMegabyte = 25;

/** By the time from one collection to the next, and the heap that each of them looks at. */
export function growthFor(betweenMs: number, heapBytes: number): number {
  return betweenMs < (heapBytes / 2 ** 20) * calmMsPerMegabyte ? stormGrowthPercent : growthPercent;
}

export function keepHeapSmall(): void {
  let percent = growthPercent;
  setFlagsFromString(`--heap-growing-percent=${percent}`);
  // A server at rest is collected once, not until nothing more is found: each time costs as much as a minute of rest.
  setFlagsFromString('--memory-reducer-single-gc');
  let lastMs = performance.now();
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const { startTime, detail } = entry as PerformanceEntry & { readonly detail?: { readonly kind?: number } };
      if (detail?.kind !== constants.NODE_PERFORMANCE_GC_MAJOR) continue;
      const wanted = growthFor(startTime - lastMs, getHeapStatistics().used_heap_size);
      lastMs = startTime;
      if (wanted !== percent) setFlagsFromString(`--heap-growing-percent=${wanted}`);
      percent = wanted;
    }
  });
  observer.observe({ entryTypes: ['gc'] });
}
