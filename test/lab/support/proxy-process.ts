/**
 * Hosts a proxy in a process of its own inside a node's namespace: so it can be killed, and the listeners of `userspace` are
 * where they must be.
 */
import type { IptablesBackend } from '../../../netplugins/linux/iptables.ts';
import type { IpFamily } from '../../../netplugins/linux/service-addresses.ts';
import { IptablesProxy } from '../../../netplugins/proxies/iptables/iptables-proxy.ts';
import { IpvsProxy } from '../../../netplugins/proxies/ipvs/ipvs-proxy.ts';
import { NftablesProxy } from '../../../netplugins/proxies/nftables/nftables-proxy.ts';
import { UserspaceProxy } from '../../../netplugins/proxies/userspace/userspace-proxy.ts';
import type { Peer, Proxy, ProxyState, ProxyStatus, TraceAnswer } from '../../../kernel/contract/index.ts';
import { trace } from '../../../plugins/components/node-agent/network/tracer.ts';
import { quiet } from './topology.ts';

export type ProxySpec =
  | { readonly mode: 'nftables' }
  | { readonly mode: 'iptables'; readonly backend: IptablesBackend; readonly lockFile: string }
  | { readonly mode: 'ipvs'; readonly stateDir: string }
  | {
      readonly mode: 'userspace';
      readonly redirect: 'auto' | 'nft' | 'iptables' | 'none';
      readonly families?: readonly IpFamily[];
    };

export type ExplainArgs = Parameters<NonNullable<Proxy['explain']>>;
/** The pods that the node's other plugins would name, and what is asked. */
export interface TraceCall {
  readonly pods: readonly { readonly id: string; readonly ip: string; readonly netns: string }[];
  readonly peers: readonly Peer[];
  readonly podCidrs: readonly string[];
  readonly question: Parameters<typeof trace>[1];
}
export type Call =
  | { readonly verb: 'trace'; readonly asked: TraceCall }
  | { readonly verb: 'sync'; readonly desired: ProxyState }
  | { readonly verb: 'explain'; readonly args: ExplainArgs }
  | { readonly verb: 'purge' | 'dispose' };

export type Reply =
  | { readonly id: number; readonly value?: unknown; readonly error?: { code: string; message: string } }
  | { readonly status: ProxyStatus };

const spec = JSON.parse(process.argv[2] ?? '') as ProxySpec;
const common = { log: quiet, clock: { now: () => Date.now() } };
const families = ['ip'] as const;

/** Without a namespace of its own to enter: it is where the process is. */
function openProxy(): Proxy & AsyncDisposable {
  switch (spec.mode) {
    case 'nftables':
      return new NftablesProxy({ families, ...common });
    case 'iptables':
      return new IptablesProxy({ families, ...common, backend: spec.backend, markBit: 12, lockFile: spec.lockFile });
    case 'ipvs':
      return new IpvsProxy({
        ...{ families, backend: 'nft', device: 'kube-ipvs0', scheduler: 'rr', affinityScheduler: 'mh', markBit: 12 },
        ...{ stateDir: spec.stateDir, ...common },
      });
    case 'userspace':
      return new UserspaceProxy({
        ...{ families: spec.families ?? families, redirect: spec.redirect, udpIdleMs: 30_000 },
        ...common,
      });
  }
}

const proxy = openProxy();

let told = '';
const tell = (): void => {
  const status = proxy.status();
  if (JSON.stringify(status) === told || !process.connected) return;
  told = JSON.stringify(status);
  process.send?.({ status } satisfies Reply);
};
setInterval(tell, 10);

function traceHere({ pods, peers, podCidrs, question }: TraceCall): Promise<TraceAnswer> {
  const runtime = { listSandboxes: async () => pods };
  const attachment = { list: async () => pods.map(({ id, ip }) => ({ sandboxId: id, ips: [ip] })) };
  const view = { podCidrs: () => podCidrs, peers: () => peers };
  return trace({ nodeName: 'node-0', runtime, attachment, proxy, ...view }, question);
}

async function run(call: Call): Promise<unknown> {
  if (call.verb === 'trace') return traceHere(call.asked);
  if (call.verb === 'sync') return proxy.sync(call.desired);
  if (call.verb === 'explain') return proxy.explain?.(...call.args);
  return call.verb === 'purge' ? proxy.purge() : proxy[Symbol.asyncDispose]();
}

process.on('message', ({ id, call }: { id: number; call: Call }) => {
  run(call).then(
    (value) => {
      tell();
      process.send?.({ id, value } satisfies Reply);
    },
    (error: Error & { code?: string }) => {
      tell();
      process.send?.({ id, error: { code: error.code ?? '', message: error.message } } satisfies Reply);
    },
  );
});
process.on('disconnect', () => process.exit(0));
