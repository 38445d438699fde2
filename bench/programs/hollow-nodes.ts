/**
 * Many nodes in one process, as upstream's kubemark has them: each is a kernel of its own with the real node agent, service
 * proxy, informers and tunnel, on runtime `hollow` and a connection pool of its own. What would touch a kernel's network
 * (attachment, overlay, proxy) is a stand-in. Started by hollow-scale.ts:
 *
 *     node out/bench/programs/hollow-nodes.js CONFIG SOCKET STATE-DIR FIRST COUNT
 *
 * Writes "ready" when all of its kernels have started; ends when its standard input does.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { builtIns } from '../../cli/built-ins.ts';
import { readConfig } from '../../cli/read-config.ts';
import { startKernel, type Kernel } from '../../kernel/composition/start-kernel.ts';
import type { Attached, Attachment, NodeNetwork, Overlay, Proxy } from '../../kernel/contract/index.ts';

const [configFile, socket, stateDir = '', first = '0', count = '1'] = process.argv.slice(2);

/** Addresses out of the node's range, and nothing behind them. */
function hollowAttachment(): Attachment {
  const attached = new Map<string, Attached>();
  let network: NodeNetwork | undefined;
  let next = 1;
  return {
    capabilities: ['ipv4', 'no-namespace'],
    configure: async (given) => void (network = given),
    add: async ({ sandboxId }) => {
      const known = attached.get(sandboxId);
      if (known !== undefined) return known;
      const prefix = (network?.podCidrs[0] ?? '0.0.0.0/24').split('.').slice(0, 3).join('.');
      next = (next % 253) + 1;
      const made: Attached = {
        ...{ sandboxId, interface: 'eth0', mac: '02:00:00:00:00:01' },
        ...{ ips: [`${prefix}.${next + 1}`], gateways: [`${prefix}.1`] },
      };
      attached.set(sandboxId, made);
      return made;
    },
    remove: async ({ sandboxId }) => void attached.delete(sandboxId),
    check: async () => [],
    list: async () => [...attached.values()],
    gc: async (valid) => {
      const gone = [...attached.keys()].filter((id) => !valid.has(id));
      for (const id of gone) attached.delete(id);
      return gone;
    },
    status: () => ({ ready: true }),
    purge: async () => attached.clear(),
  };
}

const hollowOverlay = (): Overlay => ({
  join: async () => ({ mtuBytes: 1450, annotations: {} }),
  sync: async () => ({ changed: 0 }),
  status: () => ({ ready: true, mtuBytes: 1450, peers: [], repairs: 0 }),
  leave: async () => undefined,
});

const hollowProxy = (): Proxy => ({
  sync: async () => ({ changed: 0 }),
  status: () => ({ ready: true, lastSyncMs: undefined, repairs: 0 }),
  purge: async () => undefined,
});

const config = await readConfig(configFile);
const stop = new AbortController();
process.stdin.resume();
process.stdin.once('end', () => stop.abort());
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());

const kernels: Kernel[] = [];
async function startNode(index: number): Promise<void> {
  const nodeName = `hollow-${index}`;
  const folder = join(stateDir, nodeName);
  mkdirSync(folder, { recursive: true });
  kernels.push(
    await startKernel({
      ...{ config, role: 'node', catalogue: builtIns, stateDir: folder, nodeName, signal: stop.signal },
      settings: {
        'cluster/remote': { server: `unix:${socket}` },
        'component/node-agent': {
          addresses: [`172.16.${index >> 8}.${index & 255}`],
          sharedHost: true,
        },
      },
      overrides: { attachment: hollowAttachment(), overlay: hollowOverlay(), proxy: hollowProxy() },
    }),
  );
}

// A few at once: as many as that started together would only wait for each other.
let next = Number(first);
const end = next + Number(count);
const lane = async (): Promise<void> => {
  while (next < end && !stop.signal.aborted) await startNode(next++);
};
await Promise.all(Array.from({ length: 8 }, lane));
process.stdout.write('ready\n');
if (!stop.signal.aborted) await new Promise<void>((resolve) => stop.signal.addEventListener('abort', () => resolve()));
await Promise.allSettled(kernels.map((kernel) => kernel.stop()));
process.exit();
