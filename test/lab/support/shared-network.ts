/** One network for all cases of a file: making it anew takes as long as most cases do, and far longer on an emulated processor. */
import type { TestFn } from 'ava';
import type { IpFamily } from '../../../netplugins/linux/service-addresses.ts';
import { createProxyBedNetwork, type ProxyBedNetwork } from './proxy-bed.ts';

/** The function makes the network of a family when it is first asked for. All are gone when the file's tests have ended. */
export function sharedNetwork(
  test: TestFn,
  make: typeof createProxyBedNetwork = createProxyBedNetwork,
): (family?: IpFamily) => Promise<ProxyBedNetwork> {
  const undo: (() => unknown)[] = [];
  const made = new Map<IpFamily, Promise<ProxyBedNetwork>>();
  test.after.always('the networks are taken down', async () => {
    for (const one of undo.reverse()) await one();
  });
  return (family = 'ip') => {
    const network = made.get(family) ?? make({ teardown: (one) => undo.push(one) }, family);
    made.set(family, network);
    return network;
  };
}
