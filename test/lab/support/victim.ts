/**
 * An agent's network part in a process of its own, inside the node's namespace, that is killed at any moment. It works as
 * fast as it can and says when it has begun.
 */
import { NftablesProxy } from '../../../netplugins/proxies/nftables/nftables-proxy.ts';
import type { ProxyPort } from '../../../kernel/contract/index.ts';
import { attachments, type AttachmentName } from './cluster.ts';
import { churnNetwork, churnRequest, hostPort, randomFrom } from './churn.ts';
import { quiet } from './topology.ts';

export type Order =
  | {
      readonly work: 'attach';
      readonly attachment: AttachmentName;
      readonly stateDir: string;
      readonly netns: readonly string[];
    }
  | {
      /** Adds and removes pods at random, three at once, and tells each that is done. */
      readonly work: 'churn';
      readonly attachment: AttachmentName;
      readonly stateDir: string;
      readonly bootId: string;
      readonly netns: readonly string[];
      readonly seed: number;
    }
  | { readonly work: 'proxy'; readonly ports: readonly ProxyPort[]; readonly others: readonly ProxyPort[] };

async function attach({ attachment: kind, stateDir, netns }: Extract<Order, { work: 'attach' }>): Promise<never> {
  const attachment = attachments[kind]({ stateDir, log: quiet, bootId: 'boot-1' });
  process.send?.('begun');
  for (;;) {
    await attachment.configure({ podCidrs: ['10.244.1.0/24'], clusterCidrs: ['10.244.0.0/16'], mtuBytes: 1450 });
    for (const [index, path] of netns.entries())
      await attachment.add({
        sandboxId: `pod-${index}`,
        podNamespace: 'x',
        podName: 'x',
        netns: path,
        hostPorts: hostPort(index),
      });
    for (const index of netns.keys()) await attachment.remove({ sandboxId: `pod-${index}` });
  }
}

async function churn(order: Extract<Order, { work: 'churn' }>): Promise<never> {
  const { stateDir, bootId, netns, seed } = order;
  const random = randomFrom(seed);
  const attachment = attachments[order.attachment]({ stateDir, log: quiet, bootId });
  await attachment.configure(churnNetwork);
  process.send?.('begun');
  await attachment.gc(new Set(netns.map((_, index) => `pod-${index}`).filter(() => random() < 0.5)));
  const workers = [0, 1, 2].map(async (worker) => {
    for (;;) {
      const count = Math.ceil((netns.length - worker) / 3);
      const index = worker + 3 * Math.floor(random() * count);
      const isThere = (await attachment.list()).some(({ sandboxId }) => sandboxId === `pod-${index}`);
      if (isThere) await attachment.remove({ sandboxId: `pod-${index}`, netns: netns[index]! });
      else await attachment.add(churnRequest(index, netns[index]!, random));
      process.send?.(isThere ? 'removed' : 'added');
    }
  });
  return Promise.race(workers);
}

async function proxy({ ports, others }: Extract<Order, { work: 'proxy' }>): Promise<never> {
  const nodeAddresses = ['192.168.99.1'];
  const clusterCidrs = ['10.244.0.0/16'];
  const serviceCidrs = ['10.96.0.0/12'];
  process.send?.('begun');
  for (;;) {
    const instance = new NftablesProxy({ families: ['ip'], log: quiet, clock: { now: () => Date.now() } });
    for (const extra of [ports, [...ports, ...others], ports.slice(0, 1), [...others, ...ports]])
      await instance.sync({ nodeAddresses, clusterCidrs, serviceCidrs, ports: extra });
    await instance[Symbol.asyncDispose]();
  }
}

process.on('message', (order: Order) => {
  void (order.work === 'attach' ? attach(order) : order.work === 'churn' ? churn(order) : proxy(order));
});
process.on('disconnect', () => process.exit(0));
