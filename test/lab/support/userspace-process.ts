/** Hosts a userspace proxy in a process of its own inside a node's namespace: its listeners must be there. */
import { UserspaceProxy } from '../../../netplugins/proxies/userspace/userspace-proxy.ts';
import type { Proxy, ProxyState, ProxyStatus } from '../../../kernel/contract/index.ts';
import { quiet } from './topology.ts';

export type ExplainArgs = Parameters<NonNullable<Proxy['explain']>>;
export type Call =
  | { readonly verb: 'sync'; readonly desired: ProxyState }
  | { readonly verb: 'explain'; readonly args: ExplainArgs }
  | { readonly verb: 'purge' | 'dispose' };

export type Reply =
  | { readonly id: number; readonly value?: unknown; readonly error?: { code: string; message: string } }
  | { readonly status: ProxyStatus };

const redirect = process.argv[2] as 'auto' | 'nft' | 'iptables' | 'none';
const proxy = new UserspaceProxy({
  families: ['ip'],
  redirect,
  udpIdleMs: 30_000,
  log: quiet,
  clock: { now: () => Date.now() },
});

let told = '';
const tell = (): void => {
  const status = proxy.status();
  if (JSON.stringify(status) === told || !process.connected) return;
  told = JSON.stringify(status);
  process.send?.({ status } satisfies Reply);
};
setInterval(tell, 10);

async function run(call: Call): Promise<unknown> {
  if (call.verb === 'sync') return proxy.sync(call.desired);
  if (call.verb === 'explain') return proxy.explain(...call.args);
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
