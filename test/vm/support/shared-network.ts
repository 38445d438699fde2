/** One network for all cases of a file: on an emulated processor, making it anew takes longer than most cases do. */
import type { TestFn } from 'ava';
import { createProxyBedNetwork, type ProxyBedNetwork } from '../../lab/support/proxy-bed.ts';

/** The function makes the network when it is first called. It is gone when the file's tests have ended. */
export function sharedNetwork(test: TestFn): () => Promise<ProxyBedNetwork> {
  const undo: (() => unknown)[] = [];
  let made: Promise<ProxyBedNetwork> | undefined;
  test.after.always('the network is taken down', async () => {
    for (const one of undo.reverse()) await one();
  });
  return () => (made ??= createProxyBedNetwork({ teardown: (one) => undo.push(one) }));
}

/** An emulated processor is up to so many times slower than a real one. */
export const slowdown = 7;
