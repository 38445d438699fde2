import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { defaultConfiguration, loadConfig, parseConfig } from '../../../kernel/config/load-config.ts';
import { formatPath, type PlacedIssue } from '../../../kernel/config/config-issue.ts';
import { isPintleError } from '../../../kernel/contract/index.ts';
import { noDefaults } from './fake-plugins.ts';

const head = 'apiVersion: pintle.dev/v1\nkind: ClusterConfiguration\n';

async function refusal(text: string): Promise<{ readonly message: string; readonly issues: readonly PlacedIssue[] }> {
  try {
    await parseConfig(text, 'c.yaml', noDefaults);
  } catch (error) {
    if (isPintleError(error, 'CONFIG_INVALID'))
      return { message: error.message, issues: (error.details['issues'] ?? []) as readonly PlacedIssue[] };
    throw error;
  }
  throw new Error('was accepted');
}

test('an empty mapping of plugins means the defaults', async (t) => {
  const config = await parseConfig(head, 'c.yaml', noDefaults);
  t.deepEqual(config.cluster, noDefaults.cluster);
  t.deepEqual(config.plugins.load, []);
  t.deepEqual(config.plugins.use.store, []);
});

const use = {
  ...noDefaults.use,
  store: [{ name: 'lmdb' }],
  runtime: [{ name: 'process' }],
  component: [{ name: 'a' }, { name: 'b', config: { x: 1 } }],
};

test('choices: one, a list, a bare name, none, and the defaults within a list', async (t) => {
  const choices = async (text: string) => {
    const config = await parseConfig(`${head}plugins:\n  use: ${text}\n`, 'c.yaml', { ...noDefaults, use });
    return Object.fromEntries(
      Object.entries(config.plugins.use)
        .filter(([, list]) => list.length > 0)
        .map(([kind, list]) => [kind, list.map((choice) => [choice.name, choice.config])]),
    );
  };
  const standard = {
    store: [['lmdb', {}]],
    runtime: [['process', {}]],
    component: [
      ['a', {}],
      ['b', { x: 1 }],
    ],
  };
  t.deepEqual(await choices('{}'), standard);
  t.deepEqual(await choices('{ store: memory }'), { ...standard, store: [['memory', {}]] });
  t.deepEqual(await choices('{ store: { name: memory, config: { a: [1] } } }'), {
    ...standard,
    store: [['memory', { a: [1] }]],
  });
  t.deepEqual(await choices('{ runtime: [{ name: docker }, process] }'), {
    ...standard,
    runtime: [
      ['docker', {}],
      ['process', {}],
    ],
  });
  t.deepEqual(await choices('{ runtime: [] }'), { store: standard.store, component: standard.component });
  t.deepEqual(await choices('{ component: [defaults, { name: a, config: { y: 2 } }, c] }'), {
    ...standard,
    component: [
      ['b', { x: 1 }],
      ['a', { y: 2 }],
      ['c', {}],
    ],
  });
});

const bad: readonly (readonly [
  title: string,
  text: string,
  line: number | undefined,
  column: number | undefined,
  says: RegExp,
])[] = [
  ['empty file', '', undefined, undefined, /is empty/],
  ['only a comment', '# nothing\n', undefined, undefined, /is empty|mapping|expected/],
  ['wrong apiVersion', 'apiVersion: pintle.dev/v2\nkind: ClusterConfiguration\n', 1, 13, /expected pintle\.dev\/v1/],
  ['wrong kind', 'apiVersion: pintle.dev/v1\nkind: Pod\n', 2, 7, /is "Pod", expected ClusterConfiguration/],
  ['no kind', 'apiVersion: pintle.dev/v1\n', 1, 1, /kind: is missing/],
  ['unknown top key', `${head}plugin: {}\n`, 3, 1, /unknown key; did you mean `plugins`\?/],
  ['unknown key of plugins', `${head}plugins:\n  uses: {}\n`, 4, 3, /did you mean `use`\?/],
  ['unknown kind', `${head}plugins:\n  use:\n    overlays: x\n`, 5, 5, /did you mean `overlay`\? Known: attachment/],
  [
    'unknown key of a choice',
    `${head}plugins:\n  use:\n    store: { name: x, conf: {} }\n`,
    5,
    23,
    /did you mean `config`/,
  ],
  ['choice without a name', `${head}plugins:\n  use:\n    store: { config: {} }\n`, 5, 12, /store\.name: is missing/],
  ['choice that is a number', `${head}plugins:\n  use:\n    store: 7\n`, 5, 12, /is 7, expected \{ name/],
  ['choice twice', `${head}plugins:\n  use:\n    runtime: [a, b, a]\n`, 5, 14, /names "a" twice/],
  [
    'config that is a list',
    `${head}plugins:\n  use:\n    store: { name: x, config: [] }\n`,
    5,
    31,
    /is a list, expected a mapping/,
  ],
  ['plugins that is a list', `${head}plugins: []\n`, 3, 10, /is a list, expected a mapping/],
  ['load that is a string', `${head}plugins: { load: x }\n`, 3, 18, /expected a list of strings/],
  ['load with a number', `${head}plugins: { load: [a, 3] }\n`, 3, 22, /load\[1\]: is 3, expected a string/],
  ['bad CIDR', `${head}cluster:\n  podCidrs: [10.244.0.0/33]\n`, 4, 14, /podCidrs\[0\].*expected a range/],
  ['no CIDR', `${head}cluster: { podCidrs: [] }\n`, 3, 22, /expected one range/],
  ['overlapping ranges', `${head}cluster: { podCidrs: [10.96.0.0/16] }\n`, 3, 22, /overlaps 10\.96\.0\.0\/12/],
  ['DNS address outside', `${head}cluster: { dnsServiceIp: 10.0.0.1 }\n`, 3, 26, /not an address inside serviceCidrs/],
  ['two of a family', `${head}cluster: { podCidrs: [10.1.0.0/16, 10.2.0.0/16] }\n`, 3, 22, /one of each IP family/],
  [
    'Services of a family that pods lack',
    `${head}cluster: { serviceCidrs: ["fd00:10:96::/112"] }\n`,
    3,
    26,
    /no pod could answer there: podCidrs 10\.244\.0\.0\/16 has no IPv6 range/,
  ],
  [
    'pods without the family of Services',
    `${head}cluster: { podCidrs: ["fd00:10:244::/48"] }\n`,
    3,
    22,
    /Services have addresses in 10\.96\.0\.0\/12, and no pod could answer there.* no IPv4 range/,
  ],
  [
    'overlapping IPv6 ranges',
    `${head}cluster: { podCidrs: ["fd00::/48"], serviceCidrs: ["fd00::ff00/120"] }\n`,
    3,
    22,
    /fd00::\/48 overlaps fd00::ff00\/120/,
  ],
  ['domain in capitals', `${head}cluster: { dnsDomain: Cluster.Local }\n`, 3, 23, /expected a domain/],
  ['node count', `${head}cluster: { nodes: -1 }\n`, 3, 19, /whole number from 0 to 5000/],
  ['node count as text', `${head}cluster: { nodes: three }\n`, 3, 19, /is "three", expected a whole number/],
  ['duplicate key', `${head}kind: ClusterConfiguration\n`, 3, 1, /unique/],
  ['not YAML', `${head}plugins: [a\n`, 4, 1, /./],
  ['tab as indentation', `${head}plugins:\n\tuse: {}\n`, 4, 1, /[Tt]ab/],
  ['two documents', `${head}---\n${head}`, 3, 1, /several documents/],
  ['unknown tag', `${head}plugins: !!js/function x\n`, 3, 10, /tag/],
  ['merge key', `${head}plugins: { <<: { load: [] } }\n`, 3, 12, /unknown key/],
  ['key that is no string', `${head}plugins: { [a]: 1 }\n`, 3, 12, /string/],
  ['__proto__ is an unknown key', `${head}plugins: { __proto__: { load: [] } }\n`, 3, 12, /\b__proto__\b.*unknown key/],
  ['constructor is an unknown kind', `${head}plugins:\n  use: { constructor: x }\n`, 4, 10, /unknown key/],
  ['a scalar', 'hello\n', 1, 1, /is "hello", expected a mapping/],
  ['flow nesting without end', `${head}plugins: ${'['.repeat(200_000)}\n`, undefined, undefined, /levels deep/],
  ['block nesting without end', `${head}plugins: \n  ${'- '.repeat(200_000)}\n`, undefined, undefined, /levels deep/],
  ['explicit keys without end', `${'? '.repeat(200_000)}\n`, undefined, undefined, /levels deep/],
  ['too large', `${head}# ${'x'.repeat(1024 * 1024)}\n`, undefined, undefined, /at most 1048576/],
];
for (const [title, text, line, column, says] of bad)
  test(`refused with its position: ${title}`, async (t) => {
    const { message, issues } = await refusal(text);
    t.regex(message, says);
    const [issue] = issues;
    t.is(issue?.line, line);
    t.is(issue?.column, column);
    if (line !== undefined) t.true(message.startsWith(`c.yaml:${line}:${column}: `), message.slice(0, 100));
  });

test('a YAML bomb is refused before it grows', async (t) => {
  const levels = Array.from({ length: 12 }, (_, i) => `l${i + 1}: &l${i + 1} [${`*l${i}, `.repeat(10)}]`);
  const { message } = await refusal(`${head}l0: &l0 [x]\n${levels.join('\n')}\n`);
  t.regex(message, /alias/i);
});

test('every fault of a file is named at once', async (t) => {
  const { issues } = await refusal(`${head}clusters: {}\nplugins: { usee: {} , load: 3 }\n`);
  t.deepEqual(
    issues.map(({ path }) => path),
    ['clusters', 'plugins.usee', 'plugins.load'],
  );
});

test('files that cannot be read say so', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-config-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const refused = (file: string) => t.throwsAsync(loadConfig(file, noDefaults), { code: 'CONFIG_INVALID' });
  t.regex((await refused(join(folder, 'none.yaml'))).message, /none\.yaml: cannot be read: ENOENT/);
  t.regex((await refused(folder)).message, /is a directory/);
  const huge = join(folder, 'huge.yaml');
  writeFileSync(huge, 'x'.repeat(1024 * 1024 + 1));
  t.regex((await refused(huge)).message, /has 1048577 bytes/);
  const binary = join(folder, 'binary.yaml');
  writeFileSync(binary, Buffer.from([0xff, 0xfe, 0x00]));
  t.regex((await refused(binary)).message, /binary\.yaml: cannot be read/);
});

test('the default config needs no file', (t) => {
  const config = defaultConfiguration(noDefaults);
  t.is(config.origin, 'the default config');
  t.deepEqual(config.cluster, noDefaults.cluster);
});

test('paths are printed as one would write them', (t) => {
  t.is(formatPath([]), '');
  t.is(formatPath(['plugins', 'use', 'runtime', 0, 'config', 'a.b']), 'plugins.use.runtime[0].config["a.b"]');
  t.is(formatPath(['x'.repeat(100) + '.']).length, '["..."]'.length + 80);
});

test('the DNS Service has the tenth address of the first range, unless the file says another', async (t) => {
  const dnsOf = async (cluster: string) => {
    const config = await parseConfig(`${head}cluster: { ${cluster} }\n`, 'x.yaml', noDefaults);
    return config.cluster.dnsServiceIp;
  };
  t.is(await dnsOf('nodes: 1'), '10.96.0.10');
  t.is(await dnsOf('serviceCidrs: [172.20.0.0/16]'), '172.20.0.10');
  const both = 'podCidrs: [10.244.0.0/16, "fd00:10:244::/48"]';
  t.is(await dnsOf(`${both}, serviceCidrs: [10.96.0.0/16, "fd00:10:96::/112"]`), '10.96.0.10');
  t.is(await dnsOf(`${both}, serviceCidrs: ["fd00:10:96::/112", 10.96.0.0/16]`), 'fd00:10:96::a');
  t.is(await dnsOf('serviceCidrs: [172.20.0.0/16], dnsServiceIp: 172.20.3.3'), '172.20.3.3');
});
