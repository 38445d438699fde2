/**
 * An agent's network part in a process of its own, inside the node's namespace, that is killed at any moment. It works as
 * fast as it can and says when it has begun.
 */
import { NftablesProxy } from '../../../netplugins/proxies/nftables/nftables-proxy.ts';
import type { HostPort, ProxyPort } from '../../../kernel/contract/index.ts';
import { attachments, type AttachmentName } from './cluster.ts';
import { quiet } from './topology.ts';

export type Order =
  | {
      readonly work: 'attach';
      readonly attachment: AttachmentName;
      readonly stateDir: string;
      readonly netns: readonly string[];
    }
  | { readonly work: 'proxy'; readonly ports: readonly ProxyPort[]; readonly others: readonly ProxyPort[] };

/** Every other pod has one. */
function hostPort(index: number): readonly HostPort[] {
  if (index % 2 === 1) return [];
  return [{ hostIp: undefined, hostPort: 20_000 + index, containerPort: 80, protocol: 'TCP' }];
}

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

async function proxy({ ports, others }: Extract<Order, { work: 'proxy' }>): Promise<never> {
  const nodeAddresses = ['192.168.99.1'];
  const clusterCidrs = ['10.244.0.0/16'];
  process.send?.('begun');
  for (;;) {
    const instance = new NftablesProxy({ families: ['ip'], log: quiet, clock: { now: () => Date.now() } });
    for (const extra of [ports, [...ports, ...others], ports.slice(0, 1), [...others, ...ports]])
      await instance.sync({ nodeAddresses, clusterCidrs, ports: extra });
    await instance[Symbol.asyncDispose]();
  }
}

process.on('message', (order: Order) => {
  void (order.work === 'attach' ? attach(order) : proxy(order));
});
process.on('disconnect', () => process.exit(0));
