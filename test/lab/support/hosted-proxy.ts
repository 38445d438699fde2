/** A proxy on a test's node, in a process there, seen as a Proxy. */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Proxy, ProxyStatus, ServiceVerdict, TraceAnswer } from '../../../kernel/contract/index.ts';
import { runInNetns } from '../../../netplugins/linux/namespaces.ts';
import { leanStart } from '../../lean-start.ts';
import type { Call, ProxySpec, Reply, TraceCall } from './proxy-process.ts';
import type { Place } from './topology.ts';

export interface HostedProxy extends Proxy, AsyncDisposable {
  /** kill -9 */
  kill(): Promise<void>;
  /** As the node's agent answers `pintle trace`. */
  trace(asked: TraceCall): Promise<TraceAnswer>;
}

export function openUserspaceProxy(
  node: Place,
  redirect: 'auto' | 'nft' | 'iptables' | 'none',
  path?: string,
): HostedProxy {
  return openHostedProxy(node, { mode: 'userspace', redirect }, path);
}

export function openHostedProxy(node: Place, spec: ProxySpec, path?: string): HostedProxy {
  const program = fileURLToPath(new URL('./proxy-process.js', import.meta.url));
  const env = { ...process.env, ...(path === undefined ? {} : { PATH: path }) };
  const child = runInNetns(node.netns, () => fork(program, [JSON.stringify(spec)], { execArgv: [...leanStart], env }));
  const waiting = new Map<number, { resolve(value: unknown): void; reject(error: unknown): void }>();
  let status: ProxyStatus = { ready: false, lastSyncMs: undefined, repairs: 0 };
  let next = 1;
  child.on('message', (reply: Reply) => {
    if ('status' in reply) {
      // JSON has no undefined.
      status = { ...reply.status, lastSyncMs: reply.status.lastSyncMs };
      return;
    }
    const { resolve, reject } = waiting.get(reply.id) ?? {};
    waiting.delete(reply.id);
    if (reply.error === undefined) resolve?.(reply.value);
    else reject?.(Object.assign(new Error(reply.error.message), { code: reply.error.code }));
  });
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => {
      for (const { reject } of waiting.values()) reject(new Error('the proxy process ended'));
      waiting.clear();
      resolve();
    });
  });
  const ask = (call: Call): Promise<unknown> =>
    new Promise((resolve, reject) => {
      const id = next;
      next += 1;
      waiting.set(id, { resolve, reject });
      child.send({ id, call });
    });
  let disposal: Promise<void> | undefined;
  return {
    sync: async (desired) => (await ask({ verb: 'sync', desired })) as { changed: number },
    status: () => status,
    explain: async (...args) => (await ask({ verb: 'explain', args })) as ServiceVerdict | undefined,
    trace: async (asked) => (await ask({ verb: 'trace', asked })) as TraceAnswer,
    purge: async () => void (await ask({ verb: 'purge' })),
    kill: async () => {
      child.kill('SIGKILL');
      await ended;
    },
    [Symbol.asyncDispose]: () =>
      (disposal ??= (async () => {
        await ask({ verb: 'dispose' });
        child.disconnect();
        await ended;
      })()),
  };
}
