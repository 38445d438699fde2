/**
 * A plugin as its author would make it: a package of its own, compiled with decorators by its own tsconfig, packed by npm,
 * unpacked into an application's node_modules, named in a config file. No network.
 */
import { execFile } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import { startKernel } from '../../../kernel/composition/start-kernel.ts';
import { loadConfig } from '../../../kernel/config/load-config.ts';
import type { LogSource } from '../../../kernel/host/logger.ts';
import type { NodeState, PodClass } from '../../../kernel/contract/index.ts';
import { noDefaults } from './fake-plugins.ts';

const run = promisify(execFile);
const repository = fileURLToPath(new URL('../../../../', import.meta.url));
const fixture = join(repository, 'test/fixtures/third-party-tsyringe');
const dependencies = ['tsyringe', 'reflect-metadata', 'zod', 'tslib', '@types/node', 'undici-types'];

function link(target: string, nodeModules: string, name: string): void {
  mkdirSync(dirname(join(nodeModules, name)), { recursive: true });
  symlinkSync(target, join(nodeModules, name));
}

/** What `npm install` would put there, from this repository's own packages. */
function linkDependencies(nodeModules: string): void {
  link(repository, nodeModules, 'pintle');
  for (const name of dependencies)
    if (existsSync(join(repository, 'node_modules', name)))
      link(join(repository, 'node_modules', name), nodeModules, name);
}

/** Compiles and packs a copy of the fixture; resolves to the tarball. */
async function packFixture(work: string): Promise<string> {
  const source = join(work, 'source');
  cpSync(fixture, source, { recursive: true });
  linkDependencies(join(source, 'node_modules'));
  const tsc = join(repository, 'node_modules/typescript/bin/tsc');
  await run(process.execPath, [tsc, '-p', source], { cwd: source });
  const env = { ...process.env, npm_config_cache: join(work, 'npm-cache'), npm_config_update_notifier: 'false' };
  await run('npm', ['pack', '--offline', '--ignore-scripts', '--pack-destination', work], { cwd: source, env });
  const tarball = readdirSync(work).find((name) => name.endsWith('.tgz'));
  if (tarball === undefined) throw new Error('npm pack made no tarball');
  return join(work, tarball);
}

/** Unpacks the tarball as npm does, into an application that has nothing of the sources. */
async function installInto(app: string, tarball: string): Promise<void> {
  const target = join(app, 'node_modules/@acme/pintle-scheduler-zones');
  mkdirSync(target, { recursive: true });
  await run('tar', ['-xzf', tarball, '-C', target, '--strip-components=1']);
  linkDependencies(join(app, 'node_modules'));
}

const node = (name: string, zone: string, ready: 'True' | 'False'): NodeState =>
  ({
    name,
    node: {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name, labels: { 'topology.kubernetes.io/zone': zone } },
      status: { conditions: [{ type: 'Ready', status: ready }] },
    },
  }) as unknown as NodeState;

async function prepare(t: ExecutionContext): Promise<string> {
  const work = mkdtempSync(join(tmpdir(), 'pintle-package-'));
  t.teardown(() => rmSync(work, { recursive: true, force: true }));
  const app = join(work, 'app');
  mkdirSync(app);
  await installInto(app, await packFixture(work));
  return app;
}

test('a packed third-party policy wired with tsyringe is installed, loaded, started, asked and stopped', async (t) => {
  t.timeout(120_000);
  const app = await prepare(t);
  const installed = join(app, 'node_modules/@acme/pintle-scheduler-zones');
  t.deepEqual(readdirSync(installed).toSorted(), ['README.md', 'dist', 'package.json']);
  const readme = readFileSync(join(installed, 'README.md'), 'utf8');
  const yaml = /```yaml\n([\s\S]*?)```/.exec(readme)?.[1] ?? '';
  writeFileSync(join(app, 'pintle.yaml'), yaml);

  const lines: string[] = [];
  const log: LogSource = {
    of: (part) => {
      const write = (message: string, fields: object = {}) =>
        void lines.push(`${part}: ${message} ${JSON.stringify(fields)}`);
      return { debug: () => undefined, info: write, warn: write, error: write };
    },
  };
  const start = async (stateDir: string) =>
    startKernel({
      config: await loadConfig(join(app, 'pintle.yaml'), noDefaults),
      role: 'server',
      catalogue: [],
      stateDir: join(app, stateDir),
      log,
    });
  const kernel = await start('state');
  t.like(kernel.report(), [
    { kind: 'scheduler', name: 'zones', origin: '@acme/pintle-scheduler-zones', state: 'running' },
  ]);
  t.deepEqual(lines, [
    'scheduler/zones: zones policy made {"homeZone":"b","filters":2,"label":"topology.kubernetes.io/zone"}',
  ]);

  const policy = kernel.get('scheduler').get('zones');
  t.truthy(policy);
  const ask = (state: NodeState) => policy!.filter({} as PodClass, state, { nodes: new Map() });
  t.deepEqual(ask(node('n1', 'a', 'True')), { fits: true });
  t.deepEqual(ask(node('n2', 'c', 'True')), {
    fits: false,
    reasons: ['node(s) were in a forbidden zone'],
    resolvable: false,
  });
  t.deepEqual(ask(node('n3', 'c', 'False')), {
    fits: false,
    reasons: ['node(s) were not ready', 'node(s) were in a forbidden zone'],
    resolvable: false,
  });
  const score = (zone: string) => policy!.score({} as PodClass, node('n', zone, 'True'), { nodes: new Map() });
  t.deepEqual([score('a'), score('b')], [0, 100]);

  // a second kernel in the same process has a child container of its own: no filter is registered twice
  const second = await start('state-2');
  t.regex(lines[1] ?? '', /"filters":2/);
  await second.stop();
  await kernel.stop();
  t.deepEqual(
    lines.slice(2).map((line) => line.trim()),
    ['scheduler/zones: zones policy disposed {}', 'scheduler/zones: zones policy disposed {}'],
  );

  writeFileSync(join(app, 'pintle.yaml'), yaml.replace('homeZone', 'homezone'));
  const error = await t.throwsAsync(start('state-3'), { code: 'CONFIG_INVALID' });
  t.regex(
    error.message,
    /pintle\.yaml:\d+:\d+: plugins\.use\.scheduler\.config\.homezone: unknown key; did you mean `homeZone`/,
  );
});
