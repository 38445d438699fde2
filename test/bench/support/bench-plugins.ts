/** Plugins for tests of the benchmark: as good as a built-in one, and the same with a fault. Loaded as a third party's. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { z } from 'zod';
import { definePlugin, type Attachment, type Overlay } from '../../../kernel/contract/index.ts';
import { openPtp } from '../../../netplugins/attachments/ptp/ptp-attachment.ts';
import { bootId } from '../../../netplugins/linux/held-settings.ts';
import { HostGwOverlay } from '../../../netplugins/overlays/host-gw/host-gw-overlay.ts';

const config = z.strictObject({}).prefault({});

/** Calls go through to `inner`, but for those of `own`. */
function over<T extends object>(inner: T, own: Partial<T>): T {
  return new Proxy(inner, {
    get: (target, name) => {
      if (Object.hasOwn(own, name)) return own[name as keyof T];
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
}

type Running = Overlay & AsyncDisposable;

const overlay = (name: string, change: (inner: Running) => Running) =>
  definePlugin({
    ...{ kind: 'overlay', name, api: 1, summary: `host-gw for tests: ${name}`, config, capabilities: ['ipv4', 'ipv6'] },
    start: async ({ stateDir, log }) =>
      change(new HostGwOverlay({ underlay: {}, stateFile: join(stateDir, 'settings.json'), bootId: bootId(), log })),
  });

const nft = (script: string): void => {
  const path = '/usr/sbin:/usr/bin:/sbin:/bin';
  const { status, stderr } = spawnSync('nft', ['-f', '-'], { input: script, encoding: 'utf8', env: { PATH: path } });
  if (status !== 0) throw new Error(stderr);
};

const dropOne = `table inet droppy {
  chain forward { type filter hook forward priority -500; numgen random mod 100 == 0 drop; }
}\n`;

const attachment = (name: string, change: (inner: Attachment & AsyncDisposable) => Attachment & AsyncDisposable) =>
  definePlugin({
    ...{ kind: 'attachment', name, api: 1, summary: `ptp for tests: ${name}`, config, capabilities: ['ipv4', 'ipv6'] },
    start: async ({ stateDir, log }) => change(openPtp({ stateDir, log })),
  });

export default [
  overlay('good', (inner) => inner),
  overlay('dropping', (inner) =>
    over(inner, {
      join: async (local) => {
        nft(dropOne);
        return inner.join(local);
      },
      leave: async () => {
        nft('table inet droppy {}\ndelete table inet droppy\n');
        await inner.leave();
      },
    }),
  ),
  overlay('burning', (inner) => {
    const timer = setInterval(() => {
      for (const until = performance.now() + 25; performance.now() < until;);
    }, 50);
    return over(inner, {
      [Symbol.asyncDispose]: async () => {
        clearInterval(timer);
        await inner[Symbol.asyncDispose]();
      },
    });
  }),
  // Says that it carries more than it does.
  overlay('lying', (inner) =>
    over(inner, { join: async (local) => ({ ...(await inner.join(local)), mtuBytes: 9000 }) }),
  ),
  attachment('prompt', (inner) => inner),
  attachment('sleepy', (inner) =>
    over(inner, {
      add: async (request) => {
        // Long beside the noise of a machine that does much else.
        await new Promise((resolve) => setTimeout(resolve, 600));
        return inner.add(request);
      },
    }),
  ),
  // Leaves a link behind when it is purged.
  attachment('untidy', (inner) =>
    over(inner, {
      purge: async () => {
        await inner.purge();
        spawnSync('ip', ['link', 'add', 'litter', 'type', 'veth', 'peer', 'name', 'litter2'], {
          env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
        });
      },
    }),
  ),
];
