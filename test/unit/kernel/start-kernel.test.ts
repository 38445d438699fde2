import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { z } from 'zod';
import { checkKernel, type KernelOptions, startKernel } from '../../../kernel/composition/start-kernel.ts';
import type { ClusterConfiguration } from '../../../kernel/config/cluster-configuration.ts';
import { parseConfig } from '../../../kernel/config/load-config.ts';
import {
  type ErrorCode,
  isPintleError,
  type Logger,
  type PintleError,
  type Plugin,
  type Role,
  type Store,
} from '../../../kernel/contract/index.ts';
import { configUsing, entryOf, fakePlugin, instanceOfKind, noDefaults } from './fake-plugins.ts';

function logLines(): { readonly lines: string[]; readonly log: NonNullable<KernelOptions['log']> } {
  const lines: string[] = [];
  const of = (part: string): Logger => {
    const write = (level: string) => (message: string) => void lines.push(`${level} ${part}: ${message}`);
    return { debug: () => undefined, info: write('info'), warn: write('warn'), error: write('error') };
  };
  return { lines, log: { of } };
}

async function options(
  t: ExecutionContext,
  config: ClusterConfiguration | string,
  plugins: readonly Plugin[],
  role: Role = 'server',
): Promise<KernelOptions> {
  const stateDir = mkdtempSync(join(tmpdir(), 'pintle-kernel-'));
  t.teardown(() => rmSync(stateDir, { recursive: true, force: true }));
  return {
    config: typeof config === 'string' ? await configUsing(config) : config,
    role,
    catalogue: plugins.map(entryOf),
    stateDir,
  };
}

const states = (rows: readonly { readonly kind: string; readonly name: string; readonly state: string }[]) =>
  Object.fromEntries(rows.map((row) => [`${row.kind}/${row.name}`, row.state]));

async function failure(run: Promise<unknown>): Promise<PintleError> {
  try {
    await run;
  } catch (error) {
    if (isPintleError(error)) return error;
    throw error;
  }
  throw new Error('did not fail');
}

test('starts by needs, hands in what is needed, stops in reverse', async (t) => {
  const journal: string[] = [];
  let seen: Record<string, unknown> = {};
  const api = fakePlugin('component', 'api', journal, {
    role: 'server',
    needs: ['cluster', 'scheduler'],
    start: (context) => {
      seen = { ...context.uses, cluster: context.cluster, nodeName: context.nodeName, dir: context.stateDir };
      return instanceOfKind('component', () => journal.push('stop component/api'));
    },
  });
  const cluster = fakePlugin('cluster', 'local', journal, { needs: ['store'] });
  const store = fakePlugin('store', 'memory', journal);
  const spread = fakePlugin('scheduler', 'spread', journal);
  const binpack = fakePlugin('scheduler', 'binpack', journal);
  const overlay = fakePlugin('overlay', 'vxlan', journal);
  const given = await options(
    t,
    '{ component: api, cluster: local, store: memory, scheduler: [binpack, spread], overlay: vxlan }',
    [api, cluster, overlay, spread, binpack, store],
  );
  const kernel = await startKernel(given);
  t.deepEqual(journal.splice(0), [
    'start store/memory',
    'start cluster/local',
    'start scheduler/binpack',
    'start scheduler/spread',
    'start component/api',
  ]);
  t.deepEqual([...(seen['scheduler'] as Map<string, unknown>).keys()], ['binpack', 'spread']);
  t.is(seen['nodeName'], undefined);
  t.is(seen['dir'], join(given.stateDir, 'component', 'api'));
  t.is(statSync(join(given.stateDir, 'component', 'api')).mode & 0o777, 0o700);
  t.deepEqual((seen['cluster'] as { dnsDomain: string }).dnsDomain, 'cluster.local');
  t.is(typeof kernel.get('store').commit, 'function');
  t.deepEqual([...kernel.get('scheduler').keys()], ['binpack', 'spread']);
  t.deepEqual([...kernel.get('controller').keys()], []);
  t.throws(() => kernel.get('proxy'), { code: 'PLUGIN_NEED_MISSING' });
  t.deepEqual(states(kernel.report()), {
    'component/api': 'running',
    'cluster/local': 'running',
    'overlay/vxlan': 'declared',
    'scheduler/spread': 'running',
    'scheduler/binpack': 'running',
    'store/memory': 'running',
  });
  await kernel.stop();
  await kernel.stop();
  t.deepEqual(journal, [
    'stop component/api',
    'stop scheduler/spread',
    'stop scheduler/binpack',
    'stop cluster/local',
    'stop store/memory',
  ]);
  t.true(kernel.report().every(({ state }) => state === 'stopped' || state === 'declared'));
});

test('a need that was not declared is not handed in', async (t) => {
  let uses: object = {};
  const component = fakePlugin('component', 'c', [], {
    needs: ['store'],
    start: (context) => {
      uses = context.uses;
      return instanceOfKind('component');
    },
  });
  const plugins = [component, fakePlugin('store', 's', []), fakePlugin('scheduler', 'p', [])];
  const kernel = await startKernel(await options(t, '{ component: c, store: s, scheduler: p }', plugins));
  t.deepEqual(Object.keys(uses), ['store']);
  t.true(Object.isFrozen(uses));
  await kernel.stop();
});

test('a role runs its own plugins; a list may hold those of both', async (t) => {
  const plugins = [
    fakePlugin('cluster', 'local', [], { role: 'server' }),
    fakePlugin('cluster', 'remote', [], { role: 'node' }),
    fakePlugin('component', 'both', [], { role: 'any' }),
    fakePlugin('component', 'agent', [], { role: 'node' }),
    fakePlugin('store', 's', []),
    fakePlugin('runtime', 'r', []),
  ];
  const use = '{ cluster: [local, remote], component: [both, agent], store: s, runtime: r }';
  const running = async (role: Role) => {
    const kernel = await startKernel(await options(t, use, plugins, role));
    const rows = kernel.report().filter(({ state }) => state === 'running');
    await kernel.stop();
    return rows.map(({ kind, name }) => `${kind}/${name}`).toSorted();
  };
  t.deepEqual(await running('server'), ['cluster/local', 'component/both', 'store/s']);
  t.deepEqual(await running('node'), ['cluster/remote', 'component/agent', 'component/both', 'runtime/r']);
});

test('the config is validated by the schema of the plugin, defaults filled in', async (t) => {
  let config: unknown;
  const schema = z.strictObject({ port: z.int().min(1).default(8472), mode: z.enum(['fast', 'safe']).default('safe') });
  const plugin = fakePlugin('store', 's', [], {
    config: schema,
    start: (context) => {
      config = context.config;
      return instanceOfKind('store');
    },
  });
  const kernel = await startKernel(await options(t, '{ store: { name: s, config: { mode: fast } } }', [plugin]));
  t.deepEqual(config, { port: 8472, mode: 'fast' });
  await kernel.stop();
  const set = await startKernel({
    ...(await options(t, '{ store: { name: s, config: { mode: fast } } }', [plugin])),
    settings: { 'store/s': { port: 1 } },
  });
  t.deepEqual(config, { port: 1, mode: 'fast' });
  await set.stop();
});

const strictSchema = z.strictObject({
  port: z.int().min(1).max(65535).default(8472),
  mode: z.enum(['fast', 'safe']).default('safe'),
  peers: z.array(z.strictObject({ address: z.string() })).default([]),
});
const badChoices: readonly (readonly [title: string, use: string, says: RegExp])[] = [
  [
    'unknown plugin',
    '{ store: etdc }',
    /^cluster\.yaml:4:17: plugins\.use\.store: no store is named `etdc`; did you mean `etcd`\? Known: etcd, s$/,
  ],
  [
    'unknown plugin in a list',
    '{ store: [s, { name: mem }] }',
    /^cluster\.yaml:4:21: plugins\.use\.store\[1\]: no store is named `mem`; Known/,
  ],
  ['unknown plugin of the other role', '{ overlay: vxlam }', /no overlay is named `vxlam`; did you mean `vxlan`/],
  [
    'unknown key',
    '{ store: { name: s, config: { prot: 3 } } }',
    /^cluster\.yaml:4:38: plugins\.use\.store\.config\.prot: unknown key; did you mean `port`\? Known: mode, peers, port$/,
  ],
  [
    'unknown key below',
    '{ store: { name: s, config: { peers: [{ address: a, adress: b }] } } }',
    /^cluster\.yaml:4:60: .*peers\[0\]\.adress: unknown key; did you mean `address`/,
  ],
  [
    '__proto__ is an unknown key',
    '{ store: { name: s, config: { __proto__: { port: 1 } } } }',
    /config\.__proto__: unknown key; Known: mode, peers, port/,
  ],
  ['wrong type', '{ store: { name: s, config: { port: x } } }', /^cluster\.yaml:4:44: .*config\.port: .*number/],
  [
    'wrong value',
    '{ store: { name: s, config: { mode: fats } } }',
    /^cluster\.yaml:4:44: .*config\.mode: .*"fast"\|"safe".*did you mean `fast`/,
  ],
  ['missing key', '{ store: { name: s, config: { peers: [{}] } } }', /^cluster\.yaml:4:46: .*peers\[0\]\.address: /],
  ['wrong config of a later choice', '{ store: [etcd, { name: s, config: { port: 0 } }] }', /store\[1\]\.config\.port/],
];
for (const [title, use, says] of badChoices)
  test(`refused with position: ${title}`, async (t) => {
    const journal: string[] = [];
    const plugins = [
      fakePlugin('store', 's', journal, { config: strictSchema }),
      fakePlugin('store', 'etcd', journal),
      fakePlugin('overlay', 'vxlan', journal),
    ];
    const error = await failure(startKernel(await options(t, use, plugins)));
    t.is(error.code, 'CONFIG_INVALID');
    t.regex(error.message, says);
    t.deepEqual(journal, []);
  });

test('a wrong value of a flag names the command line; a flag for a plugin that is not chosen is refused', async (t) => {
  const plugins = [fakePlugin('store', 's', [], { config: strictSchema })];
  const base = await options(t, '{ store: s }', plugins);
  const wrong = await failure(startKernel({ ...base, settings: { 'store/s': { port: 0 } } }));
  t.regex(wrong.message, /^command line: plugins\.use\.store\.config\.port: /);
  const idle = await failure(startKernel({ ...base, settings: { 'component/api-server': { port: 1 } } }));
  t.is(idle.code, 'CONFIG_INVALID');
  t.regex(idle.message, /sets port of component\/api-server, which the config does not choose/);
});

test('a choice that this host cannot run is skipped, and the fall-back logged once', async (t) => {
  const journal: string[] = [];
  const no = async () => ({ ok: false, reason: 'no socket', fix: 'apt-get install docker.io' });
  const plugins = [
    fakePlugin('store', 'first', journal, { preflight: no }),
    fakePlugin('store', 'second', journal),
    fakePlugin('store', 'third', journal),
  ];
  const { lines, log } = logLines();
  const kernel = await startKernel({ ...(await options(t, '{ store: [first, second, third] }', plugins)), log });
  t.deepEqual(journal.splice(0), ['start store/second']);
  t.deepEqual(
    lines.filter((line) => line.startsWith('warn')),
    ['warn kernel: store/first cannot run here, store/second takes its place: no socket'],
  );
  const [first, second, third] = kernel.report();
  t.like(first, { state: 'skipped', reason: 'no socket', fix: 'apt-get install docker.io' });
  t.is(second?.state, 'running');
  t.like(third, { state: 'skipped', reason: 'not needed: a choice named before it can run' });
  await kernel.stop();
});

test('when no choice is left, every reason and fix of every kind is named, and nothing starts', async (t) => {
  const journal: string[] = [];
  const no = (reason: string, fix?: string) => ({ preflight: async () => ({ ok: false, reason, fix }) });
  const plugins = [
    fakePlugin('overlay', 'a', journal, no('no module a', 'modprobe a')),
    fakePlugin('overlay', 'b', journal, no('no module b')),
    fakePlugin('proxy', 'p', journal, no('no nft', 'apt-get install nftables')),
    fakePlugin('component', 'x', journal, { role: 'any', ...no('port 53 is taken') }),
    fakePlugin('component', 'y', journal, { role: 'any' }),
    fakePlugin('runtime', 'r', journal),
  ];
  const use = '{ overlay: [a, b], proxy: p, component: [x, y], runtime: r }';
  const error = await failure(startKernel(await options(t, use, plugins, 'node')));
  t.is(error.code, 'PLUGIN_UNSUPPORTED');
  for (const part of [
    'overlay/a: no module a (modprobe a)',
    'overlay/b: no module b',
    'proxy/p: no nft (apt-get install nftables)',
    'component/x: port 53 is taken',
  ])
    t.true(error.message.includes(part), `${part} in ${error.message}`);
  t.is((error.details['reasons'] as unknown[]).length, 4);
  t.deepEqual(journal, []);
});

test('the preflight sees the host and its config', async (t) => {
  const seen: unknown[] = [];
  const preflight = async (host: { kernelRelease: string }, config: unknown) => {
    seen.push(host.kernelRelease, config);
    return { ok: true };
  };
  const kernel = await startKernel({
    ...(await options(t, '{ store: s }', [fakePlugin('store', 's', [], { preflight })])),
    host: {
      kernelRelease: '6.1.0-test',
      isPrivileged: false,
      isRoot: false,
      command: () => undefined,
      exists: () => false,
      readText: () => undefined,
    },
  });
  t.deepEqual(seen, ['6.1.0-test', {}]);
  await kernel.stop();
});

const orders: readonly (readonly [title: string, use: string, code: ErrorCode, says: RegExp])[] = [
  [
    'missing need',
    '{ cluster: local }',
    'PLUGIN_NEED_MISSING',
    /cluster\/local needs a store, but none is chosen.*plugins\.use\.store/,
  ],
  ['need of the other role', '{ component: lost }', 'PLUGIN_NEED_MISSING', /component\/lost needs a runtime/],
  ['circle', '{ cluster: loop, store: loop }', 'PLUGIN_CYCLE', /store\/loop -> cluster\/loop -> store\/loop/],
  ['circle of one', '{ component: self }', 'PLUGIN_CYCLE', /component\/self -> component\/self/],
];
for (const [title, use, code, says] of orders)
  test(`refused before anything starts: ${title}`, async (t) => {
    const journal: string[] = [];
    const plugins = [
      fakePlugin('cluster', 'local', journal, { needs: ['store'] }),
      fakePlugin('component', 'lost', journal, { needs: ['runtime'] }),
      fakePlugin('runtime', 'r', journal),
      fakePlugin('cluster', 'loop', journal, { needs: ['store'] }),
      fakePlugin('store', 'loop', journal, { needs: ['cluster'] }),
      fakePlugin('component', 'self', journal, { needs: ['component'] }),
    ];
    const error = await failure(startKernel(await options(t, use, plugins)));
    t.is(error.code, code);
    t.regex(error.message, says);
    t.deepEqual(journal, []);
  });

const brokenStarts: readonly (readonly [title: string, start: () => unknown, code: ErrorCode, says: RegExp])[] = [
  [
    'throws',
    () => {
      throw new Error('disk is on fire');
    },
    'PLUGIN_START_FAILED',
    /cluster\/bad failed to start: disk is on fire/,
  ],
  [
    'throws a string',
    () => {
      throw 'just text';
    },
    'PLUGIN_START_FAILED',
    /just text/,
  ],
  ['returns nothing', () => undefined, 'PLUGIN_INVALID', /start resolved to missing, expected an object/],
  ['returns a number', () => 42, 'PLUGIN_INVALID', /start resolved to 42/],
  [
    'returns a part of it',
    () => ({ get: () => undefined }),
    'PLUGIN_INVALID',
    /without list\(\), .*\[Symbol\.asyncDispose\]\(\)/,
  ],
  [
    'cannot be disposed',
    () => ({ ...instanceOfKind('cluster'), [Symbol.asyncDispose]: 1 }),
    'PLUGIN_INVALID',
    /without \[Symbol\.asyncDispose\]\(\)/,
  ],
  [
    'hangs',
    () => new Promise(() => undefined),
    'PLUGIN_START_TIMEOUT',
    /cluster\/bad did not start within 50 ms\. Before it: store\/s \d+ ms/,
  ],
];
for (const [title, start, code, says] of brokenStarts)
  test(`a plugin that ${title} in start is named, and what runs is stopped`, async (t) => {
    const journal: string[] = [];
    const plugins = [
      fakePlugin('store', 's', journal),
      fakePlugin('cluster', 'bad', journal, { needs: ['store'], start, startDeadlineMs: 50 }),
    ];
    const error = await failure(startKernel(await options(t, '{ store: s, cluster: bad }', plugins)));
    t.is(error.code, code);
    t.regex(error.message, says);
    t.deepEqual(journal, ['start store/s', 'start cluster/bad', 'stop store/s']);
    if (code === 'PLUGIN_START_TIMEOUT') t.like(error.details['timeline'], [{ plugin: 'store/s' }]);
    if (title === 'throws') t.is((error.cause as Error).message, 'disk is on fire');
  });

test('an invalid instance that can be disposed is disposed', async (t) => {
  let disposed = 0;
  const start = () => ({ [Symbol.asyncDispose]: async () => void (disposed += 1) });
  const plugin = fakePlugin('store', 's', [], { start });
  const error = await failure(startKernel(await options(t, '{ store: s }', [plugin])));
  t.is(error.code, 'PLUGIN_INVALID');
  t.is(disposed, 1);
});

test('a start that honours its signal is waited for; one that ends late is disposed', async (t) => {
  const journal: string[] = [];
  const start = (_: unknown, signal: AbortSignal) =>
    new Promise((resolve) => {
      signal.addEventListener('abort', () => {
        journal.push(`aborted: ${(signal.reason as Error).message.slice(0, 23)}`);
        resolve(instanceOfKind('store', () => journal.push('disposed')));
      });
    });
  const plugin = fakePlugin('store', 's', [], { start, startDeadlineMs: 30 });
  const error = await failure(startKernel(await options(t, '{ store: s }', [plugin])));
  t.is(error.code, 'PLUGIN_START_TIMEOUT');
  t.deepEqual(journal, ['aborted: store/s did not start w', 'disposed']);
});

test('an abort during the start stops what runs and rejects with the reason', async (t) => {
  const journal: string[] = [];
  const controller = new AbortController();
  const reason = new Error('ctrl-c');
  const plugins = [
    fakePlugin('store', 's', journal),
    fakePlugin('cluster', 'slow', journal, {
      needs: ['store'],
      start: (_, signal) => {
        controller.abort(reason);
        return new Promise((_resolve, reject) => {
          if (signal.aborted) reject(signal.reason as Error);
        });
      },
    }),
    fakePlugin('scheduler', 'never', journal),
  ];
  const base = await options(t, '{ store: s, cluster: slow, scheduler: never }', plugins);
  t.is(await t.throwsAsync(startKernel({ ...base, signal: controller.signal })), reason);
  t.deepEqual(journal, ['start store/s', 'start cluster/slow', 'stop store/s']);
});

test('an abort after the start does not reach the plugins', async (t) => {
  const controller = new AbortController();
  let aborted = false;
  const plugin = fakePlugin('store', 's', [], {
    start: (_, signal) => {
      signal.addEventListener('abort', () => (aborted = true));
      return instanceOfKind('store');
    },
  });
  const base = await options(t, '{ store: s }', [plugin]);
  const kernel = await startKernel({ ...base, signal: controller.signal });
  controller.abort();
  t.false(aborted);
  await kernel.stop();
});

test('every stop is attempted; failures are gathered and reported', async (t) => {
  const journal: string[] = [];
  const plugins = [
    fakePlugin('store', 's', journal),
    fakePlugin('cluster', 'c', journal, { needs: ['store'], dispose: () => Promise.reject(new Error('stuck')) }),
    fakePlugin('component', 'h', journal, { needs: ['cluster'], dispose: () => new Promise(() => undefined) }),
  ];
  const base = await options(t, '{ store: s, cluster: c, component: h }', plugins);
  const kernel = await startKernel({ ...base, stopDeadlineMs: 30 });
  journal.length = 0;
  const error = await failure(kernel.stop());
  t.is(error.code, 'PLUGIN_STOP_FAILED');
  t.deepEqual(error.details['plugins'], ['component/h', 'cluster/c']);
  t.deepEqual(journal, ['stop component/h', 'stop cluster/c', 'stop store/s']);
  t.deepEqual(states(kernel.report()), { 'store/s': 'stopped', 'cluster/c': 'failed', 'component/h': 'stopping' });
});

test('a failing clean-up never hides why the start failed', async (t) => {
  const plugins = [
    fakePlugin('store', 's', [], { dispose: () => Promise.reject(new Error('clean-up failed')) }),
    fakePlugin('cluster', 'bad', [], { needs: ['store'], start: () => Promise.reject(new Error('the first error')) }),
  ];
  const { lines, log } = logLines();
  const base = await options(t, '{ store: s, cluster: bad }', plugins);
  const error = await failure(startKernel({ ...base, log }));
  t.regex(error.message, /the first error/);
  t.true(lines.some((line) => line.startsWith('error kernel: stopping what had started failed too')));
});

test('overrides take the place of plugins', async (t) => {
  const journal: string[] = [];
  const store = instanceOfKind('store') as unknown as Store;
  let used: unknown;
  const plugins = [
    fakePlugin('store', 's', journal),
    fakePlugin('cluster', 'c', journal, {
      needs: ['store'],
      start: (context) => {
        used = context.uses.store;
        return instanceOfKind('cluster');
      },
    }),
  ];
  const base = await options(t, '{ store: s, cluster: c }', plugins);
  const kernel = await startKernel({ ...base, overrides: { store, scheduler: new Map() } });
  t.is(used, store);
  t.is(kernel.get('store'), store);
  t.deepEqual(journal, ['start cluster/c']);
  await kernel.stop();
});

const brokenPreflights: readonly (readonly [title: string, preflight: () => unknown, code: ErrorCode])[] = [
  [
    'throws',
    () => {
      throw new Error('oops');
    },
    'PLUGIN_START_FAILED',
  ],
  ['answers nothing', () => undefined, 'PLUGIN_INVALID'],
  ['answers true', () => true, 'PLUGIN_INVALID'],
  ['refuses without a reason', () => ({ ok: false }), 'PLUGIN_INVALID'],
];
for (const [title, preflight, code] of brokenPreflights)
  test(`a preflight that ${title} is an error, no fall-back`, async (t) => {
    const journal: string[] = [];
    const plugins = [fakePlugin('store', 'a', journal, { preflight }), fakePlugin('store', 'b', journal)];
    const error = await failure(startKernel(await options(t, '{ store: [a, b] }', plugins)));
    t.is(error.code, code);
    t.regex(error.message, /^store\/a: its preflight /);
    t.deepEqual(journal, []);
  });

test('a state folder that cannot be made is named', async (t) => {
  const base = await options(t, '{ store: s }', [fakePlugin('store', 's', [])]);
  const file = join(base.stateDir, 'occupied');
  writeFileSync(file, '');
  const error = await failure(startKernel({ ...base, stateDir: file }));
  t.is(error.code, 'PLUGIN_START_FAILED');
  t.regex(error.message, /store\/s: its state folder .*occupied\/store\/s cannot be made: .*--state-dir/);
  t.is(readFileSync(file, 'utf8'), '');
});

test('checkKernel says what would happen and starts nothing', async (t) => {
  const journal: string[] = [];
  let asked = 0;
  const no = async () => {
    asked += 1;
    return { ok: false, reason: 'no module' };
  };
  const plugins = [
    fakePlugin('store', 'a', journal, { preflight: no }),
    fakePlugin('store', 'b', journal),
    fakePlugin('cluster', 'c', journal, { preflight: no }),
  ];
  const fine = await checkKernel(await options(t, '{ store: [a, b] }', plugins));
  t.is(fine.refusal, undefined);
  t.is(asked, 1, 'a preflight runs once');
  t.deepEqual(states(fine.report), { 'store/a': 'skipped', 'store/b': 'configured', 'cluster/c': 'declared' });
  t.deepEqual(
    fine.verdicts.map(({ plugin, preflight }) => [plugin.name, preflight.ok]),
    [
      ['a', false],
      ['b', true],
    ],
  );
  const refused = await checkKernel(await options(t, '{ store: b, cluster: c }', plugins));
  t.true(isPintleError(refused.refusal, 'PLUGIN_UNSUPPORTED'));
  t.is(refused.verdicts.length, 2);
  t.deepEqual(journal, []);
});

const dualStack = (use: string): Promise<ClusterConfiguration> =>
  parseConfig(
    `apiVersion: pintle.dev/v1
kind: ClusterConfiguration
cluster:
  podCidrs: [10.244.0.0/16, "fd00:10:244::/48"]
  serviceCidrs: [10.96.0.0/12, "fd00:10:96::/112"]
plugins: { use: ${use} }
`,
    'cluster.yaml',
    noDefaults,
  );

test('what carries no family of the pods is not started, and the next of the list takes its place', async (t) => {
  const carrier = (kind: 'attachment' | 'overlay' | 'proxy', name: string, capabilities: readonly string[]): Plugin =>
    ({ ...fakePlugin(kind, name, []), capabilities }) as Plugin;
  const old = carrier('overlay', 'old', ['ipv4', 'encapsulates']);
  const both = carrier('overlay', 'both', ['ipv4', 'ipv6']);
  const silent = carrier('proxy', 'silent', []);
  const refused = await failure(
    startKernel(await options(t, await dualStack('{ overlay: old, proxy: silent }'), [old, silent], 'node')),
  );
  t.is(refused.code, 'PLUGIN_UNSUPPORTED');
  t.regex(
    refused.message,
    /overlay old has no IPv6 \(capabilities: ipv4, encapsulates\).*fd00:10:244::\/48 \(choose an/,
  );
  t.regex(refused.message, /proxy silent has no IPv6 \(capabilities: none\)/);
  const { lines, log } = logLines();
  const kernel = await startKernel({
    ...(await options(t, await dualStack('{ overlay: [old, both] }'), [old, both], 'node')),
    log,
  });
  t.teardown(() => kernel.stop());
  t.deepEqual(states(kernel.report()), { 'overlay/old': 'skipped', 'overlay/both': 'running' });
  t.regex(lines.join('\n'), /overlay\/old cannot run here, overlay\/both takes its place: overlay old has no IPv6/);
  const six = carrier('attachment', 'six', ['ipv6']);
  const four = await failure(startKernel(await options(t, await configUsing('{ attachment: six }'), [six], 'node')));
  t.regex(four.message, /attachment six has no IPv4/);
  const plain = await startKernel(
    await options(t, await configUsing('{ overlay: old, proxy: silent }'), [old, silent], 'node'),
  );
  t.deepEqual(states(plain.report()), { 'overlay/old': 'running', 'proxy/silent': 'running' });
  await plain.stop();
});
