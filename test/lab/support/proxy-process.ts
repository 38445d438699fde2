/**
 * Hosts a proxy in a process of its own inside a node's namespace: so it can be killed, and the listeners of `userspace` are
 * where they must be.
 */
import type { IptablesBackend } from '../../../netplugins/linux/iptables.ts';
import type { IpFamily } from '../../../netplugins/linux/service-addresses.ts';
import type { Logger, Peer, Proxy, ProxyState, ProxyStatus, TraceAnswer } from '../../../kernel/contract/index.ts';
import type { trace as Trace } from '../../../plugins/components/node-agent/network/tracer.ts';

export type ProxySpec =
  | { readonly mode: 'nftables' }
  | { readonly mode: 'iptables'; readonly backend: IptablesBackend; readonly lockFile: string }
  | { readonly mode: 'ipvs'; readonly backend: IptablesBackend; readonly stateDir: string }
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
  readonly question: Parameters<typeof Trace>[1];
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
const silent = (): void => undefined;
const quiet: Logger = { debug: silent, info: silent, warn: silent, error: silent };
const common = { log: quiet, clock: { now: () => Date.now() } };
const families = ['ip'] as const;

/**
 * Without a namespace of its own to enter: it is where the process is. Only what is asked for is loaded: an emulated
 * processor takes seconds for all of it, in each case of the kit.
 */
async function openProxy(): Promise<Proxy & AsyncDisposable> {
  switch (spec.mode) {
    case 'nftables': {
      const { NftablesProxy } = await import('../../../netplugins/proxies/nftables/nftables-proxy.ts');
      return new NftablesProxy({ families, ...common });
    }
    case 'iptables': {
      const { IptablesProxy } = await import('../../../netplugins/proxies/iptables/iptables-proxy.ts');
      return new IptablesProxy({ families, ...common, backend: spec.backend, markBit: 12, lockFile: spec.lockFile });
    }
    case 'ipvs': {
      const { IpvsProxy } = await import('../../../netplugins/proxies/ipvs/ipvs-proxy.ts');
      return new IpvsProxy({
        ...{ families, backend: spec.backend, device: 'kube-ipvs0', scheduler: 'rr', affinityScheduler: 'mh' },
        ...{ markBit: 12, stateDir: spec.stateDir, ...common },
      });
    }
    case 'userspace': {
      const { UserspaceProxy } = await import('../../../netplugins/proxies/userspace/userspace-proxy.ts');
      return new UserspaceProxy({
        ...{ families: spec.families ?? families, redirect: spec.redirect, udpIdleMs: 600_000 },
        ...common,
      });
    }
  }
}

const proxy = await openProxy();

let told = '';
const tell = (): void => {
  const status = proxy.status();
  if (JSON.stringify(status) === told || !process.connected) return;
  told = JSON.stringify(status);
  process.send?.({ status } satisfies Reply);
};
setInterval(tell, 50);

async function traceHere({ pods, peers, podCidrs, question }: TraceCall): Promise<TraceAnswer> {
  const { trace } = await import('../../../plugins/components/node-agent/network/tracer.ts');
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
