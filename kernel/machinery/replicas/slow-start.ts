/**
 * Runs `work` `count` times in batches of 1, 2, 4 ...: a call that always fails (a quota, a broken template) is then tried
 * once, not five hundred times. Rejects with the first failure of a batch, after the whole batch has ended.
 */
export async function slowStart(count: number, work: () => Promise<void>): Promise<void> {
  let rest = count;
  for (let batch = 1; rest > 0; batch *= 2) {
    const size = Math.min(batch, rest);
    const results = await Promise.allSettled(Array.from({ length: size }, () => work()));
    for (const result of results) if (result.status === 'rejected') throw result.reason;
    rest -= size;
  }
}
