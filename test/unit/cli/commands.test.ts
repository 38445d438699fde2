import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { parse } from 'yaml';
import { z } from 'zod';
import { lockFolder } from '../../../cli/up/lock-folder.ts';
import { pintle } from './cli-runner.ts';

const memoryOnly = `apiVersion: pintle.dev/v1
kind: ClusterConfiguration
plugins:
  use: { store: memory, cluster: [], scheduler: binpack, controller: [], runtime: [], attachment: [], overlay: [], proxy: [], component: [] }
`;

function folderOf(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-cli-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function configFile(t: ExecutionContext, text: string): string {
  const folder = folderOf(t);
  writeFileSync(join(folder, 'pintle.yaml'), text);
  return join(folder, 'pintle.yaml');
}

const usage: readonly (readonly [title: string, argv: readonly string[], says: RegExp])[] = [
  ['unknown command', ['sever'], /unknown command 'sever'[\s\S]*Did you mean server/],
  ['unknown flag', ['doctor', '--fast'], /unknown option '--fast'/],
  ['unknown output format', ['plugins', 'ls', '-o', 'xml'], /Allowed choices are text, json/],
  ['missing argument', ['config', 'check'], /missing required argument 'file'/],
  ['too many arguments', ['doctor', 'now'], /too many arguments/],
  ['server that is no URL', ['agent', '--server', 'localhost'], /expected https:\/\/host:port or unix:\/path/],
  ['node name in capitals', ['agent', '--server', 'unix:/x', '--node-name', 'Node_1'], /expected a DNS name/],
  ['node address that is none', ['agent', '--server', 'unix:/x', '--node-ip', 'eth0'], /expected an IP address/],
  ['address without a port', ['server', '--listen', '127.0.0.1'], /expected address:port/],
  ['port that is too large', ['server', '--listen', '127.0.0.1:65536'], /expected address:port/],
  ['unknown log level', ['server', '--log-level', 'loud'], /Allowed choices are debug, info, warn, error/],
  ['two sources of plugins ls', ['plugins', 'ls', '--config', 'a', '--state-dir', 'b'], /cannot be used with/],
  ['unknown shell', ['completion', 'tcsh'], /Allowed choices are bash, zsh, fish/],
  ['a bare group', ['plugins'], /Usage: pintle plugins/],
];
for (const [title, argv, says] of usage)
  test(`usage error, exit code 2: ${title}`, async (t) => {
    const { exitCode, out, err } = await pintle(...argv);
    t.is(exitCode, 2);
    t.regex(err, says);
    t.is(out, '');
  });

test('help and version go to stdout and are no error', async (t) => {
  const help = await pintle('--help');
  t.is(help.exitCode, 0);
  for (const word of ['server', 'agent', 'plugins', 'config', 'doctor', 'completion', 'Exit codes'])
    t.true(help.out.includes(word), word);
  const version = await pintle('--version');
  t.is(version.exitCode, 0);
  t.regex(version.out, /^\d+\.\d+\.\d+\n$/);
});

test('config default is accepted by config check and is the default', async (t) => {
  const { exitCode, out } = await pintle('config', 'default');
  t.is(exitCode, 0);
  const file = configFile(t, out);
  const checked = await pintle('config', 'check', file);
  t.is(checked.err, '');
  t.is(checked.exitCode, 0);
  t.is(checked.out, `${file}: ok\n`);
});

test('config check of a wrong file: exit code 3, position, and the same as JSON', async (t) => {
  const file = configFile(t, memoryOnly.replace('binpack', 'binpak'));
  const checked = await pintle('config', 'check', file);
  t.is(checked.exitCode, 3);
  t.regex(
    checked.err,
    /pintle\.yaml:4:49: plugins\.use\.scheduler: no scheduler is named `binpak`; did you mean `binpack`/,
  );
  const json = await pintle('config', 'check', file, '-o', 'json');
  t.is(json.exitCode, 3);
  t.like(JSON.parse(json.out), {
    ok: false,
    code: 'CONFIG_INVALID',
    issues: [{ line: 4, column: 49, path: 'plugins.use.scheduler' }],
  });
});

test('config schema is a JSON Schema that knows every built-in', async (t) => {
  const { exitCode, out } = await pintle('config', 'schema');
  t.is(exitCode, 0);
  const schema = JSON.parse(out) as {
    $schema: string;
    properties: { plugins: { properties: { use: { properties: Record<string, unknown> } } } };
  };
  t.is(schema.$schema, 'https://json-schema.org/draft/2020-12/schema');
  const { use } = schema.properties.plugins.properties;
  t.true(JSON.stringify(use.properties['store']).includes('"const":"lmdb"'));
  t.true(JSON.stringify(use.properties['component']).includes('"maxPods"'));
});

test('config schema accepts what config check accepts, and refuses what it refuses', async (t) => {
  const schema = z.fromJSONSchema(
    JSON.parse((await pintle('config', 'schema')).out) as Parameters<typeof z.fromJSONSchema>[0],
  );
  const standard = parse((await pintle('config', 'default')).out) as object;
  t.deepEqual(schema.safeParse(standard).error?.issues, undefined);
  const head = { apiVersion: 'pintle.dev/v1', kind: 'ClusterConfiguration' };
  const using = (use: object) => ({ ...head, plugins: { use } });
  const verdicts: readonly (readonly [config: object, accepted: boolean])[] = [
    [head, true],
    [using({ store: 'memory' }), true],
    [using({ store: [{ name: 'lmdb', config: {} }, 'memory'] }), true],
    [using({ scheduler: { name: 'of-a-third-party', config: { anything: 1 } } }), true],
    [using({ component: ['defaults', { name: 'node-agent', config: { maxPods: 5 } }] }), true],
    [{ ...head, kind: 'Pod' }, false],
    [{ ...head, plugin: {} }, false],
    [using({ stores: 'memory' }), false],
    [using({ store: { name: 'memory', conf: {} } }), false],
    [using({ store: { name: 'memory', config: { nope: 1 } } }), false],
    [using({ component: { name: 'node-agent', config: { maxPods: 'many' } } }), false],
  ];
  for (const [config, accepted] of verdicts) t.is(schema.safeParse(config).success, accepted, JSON.stringify(config));
});

test('plugins ls: table and JSON; skipped and chosen are told apart', async (t) => {
  const file = configFile(t, memoryOnly);
  const table = await pintle('plugins', 'ls', '-c', file);
  t.is(table.exitCode, 0);
  t.regex(table.out, /^KIND +NAME +RUNS IN +STATE/);
  t.regex(table.out, /store +memory +server +configured +built-in/);
  t.regex(table.out, /scheduler +spread +server +declared +built-in/);
  t.false(table.out.includes('\x1b'));
  const { plugins } = JSON.parse((await pintle('plugins', 'ls', '-c', file, '-o', 'json')).out) as {
    plugins: { kind: string; name: string; state: string }[];
  };
  t.like(
    plugins.find(({ name }) => name === 'binpack'),
    { kind: 'scheduler', state: 'configured' },
  );
});

test('plugins show: facts, config schema, and a hint for a slip', async (t) => {
  const shown = await pintle('plugins', 'show', 'store/memory');
  t.is(shown.exitCode, 0);
  t.regex(shown.out, /Plugin: +store\/memory\n/);
  t.regex(shown.out, /"keepSeconds"/);
  t.like(JSON.parse((await pintle('plugins', 'show', 'scheduler/spread', '-o', 'json')).out), {
    kind: 'scheduler',
    name: 'spread',
  });
  const folder = folderOf(t);
  mkdirSync(join(folder, 'overlay/flannel-udp'), { recursive: true });
  writeFileSync(join(folder, 'overlay/flannel-udp/uses.json'), '{"path":"offload","kernel":"yes"}');
  const running = await pintle('plugins', 'show', 'overlay/flannel-udp', '--state-dir', folder);
  t.regex(running.out, /Uses: +path offload\nUses: +kernel yes\n/);
  const slip = await pintle('plugins', 'show', 'store/memry');
  t.is(slip.exitCode, 1);
  t.regex(slip.err, /\[PLUGIN_UNKNOWN\] no store is named `memry`; did you mean `memory`/);
  t.regex(
    (await pintle('plugins', 'show', 'stor/memory')).err,
    /names no plugin: expected kind\/name.*did you mean `store`/,
  );
});

test('plugins ls of a folder without a running process says so', async (t) => {
  const { exitCode, err } = await pintle('plugins', 'ls', '--state-dir', '/nonexistent/state');
  t.is(exitCode, 1);
  t.regex(err, /report\.json cannot be read.*--state-dir/);
});

test('doctor: one line a plugin; a refusal is exit code 3 with reason and fix', async (t) => {
  const good = await pintle('doctor', '-c', configFile(t, memoryOnly));
  t.is(good.exitCode, 0);
  t.is(
    good.out,
    'ok  server  store/memory\nok  server  scheduler/binpack\nok  node    volume/local\nok  node    volume/host-path\n',
  );
  const folder = configFile(
    t,
    memoryOnly.replace('plugins:', 'plugins:\n  load: [./never.mjs]').replace('overlay: []', 'overlay: never'),
  );
  writeFileSync(
    join(folder, '..', 'never.mjs'),
    `export default { kind: 'overlay', name: 'never', api: 1, summary: 's', start: async () => {},
       config: { '~standard': { version: 1, vendor: 'x', validate: (value) => ({ value }) } },
       preflight: async () => ({ ok: false, reason: 'no module never', fix: 'modprobe never' }) };`,
  );
  const bad = await pintle('doctor', '-c', folder);
  t.is(bad.exitCode, 3);
  t.regex(bad.out, /^no {2}node {4}overlay\/never: no module never; fix: modprobe never$/m);
  t.regex(bad.err, /\[PLUGIN_UNSUPPORTED\]/);
  const json = await pintle('doctor', '-c', folder, '-o', 'json');
  t.is(json.exitCode, 3);
  const { ok, checks } = JSON.parse(json.out) as { ok: boolean; checks: { name: string }[] };
  t.false(ok);
  t.like(
    checks.find(({ name }) => name === 'never'),
    { role: 'node', ok: false, fix: 'modprobe never' },
  );
});

test('a config file that is not there: exit code 1 and its name', async (t) => {
  const { exitCode, err } = await pintle('doctor', '-c', '/nonexistent/pintle.yaml');
  t.is(exitCode, 1);
  t.regex(err, /\/nonexistent\/pintle\.yaml: cannot be read: ENOENT/);
});

const completions: readonly (readonly [line: string, expected: readonly string[]])[] = [
  ['pintle pl', ['plugins']],
  ['pintle plugins ', ['ls', 'show', '--help']],
  ['pintle plugins ls --o', ['--output']],
  ['pintle completion z', ['zsh']],
  ['pintle server --li', ['--listen']],
];
test('the bash completion completes commands, flags and choices', async (t) => {
  const { exitCode, out: script } = await pintle('completion', 'bash');
  t.is(exitCode, 0);
  for (const [line, expected] of completions) {
    const words = line.split(' ');
    const ask = `${script}
COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}; _pintle; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const replies = execFileSync('bash', ['-c', ask], { encoding: 'utf8' }).trim().split('\n');
    t.deepEqual(replies, expected, line);
  }
});

test('zsh and fish completions name every command', async (t) => {
  for (const shell of ['zsh', 'fish']) {
    const { exitCode, out } = await pintle('completion', shell);
    t.is(exitCode, 0);
    for (const word of ['server', 'plugins', 'node-name', 'doctor']) t.true(out.includes(word), `${shell} ${word}`);
    for (const hidden of ['lab-run', 'lab-check', 'no-detach']) t.false(out.includes(hidden), `${shell} ${hidden}`);
  }
});

test('kubeconfig, image ls and status of a folder without a cluster say so, without a stack', async (t) => {
  const folder = folderOf(t);
  for (const argv of [['kubeconfig'], ['kubeconfig', '--path'], ['image', 'ls']]) {
    const { exitCode, err } = await pintle(...argv, '--state-dir', folder);
    t.is(exitCode, 1);
    t.regex(err, /^error \[NOT_FOUND\] no cluster runs from .*; "pintle up" starts one/);
    t.false(err.includes('    at '));
  }
  t.is((await pintle('status', '--state-dir', folder)).exitCode, 3);
});

test('up refuses more nodes than a lab has addresses for, and none', async (t) => {
  for (const count of [0, 300]) {
    const file = configFile(t, `${memoryOnly}cluster: { nodes: ${count} }\n`);
    const { exitCode, err } = await pintle('up', '-c', file, '--state-dir', join(folderOf(t), 'c'));
    t.is(exitCode, 1);
    t.regex(err, new RegExp(`cluster\\.nodes is ${count}; .* 1 to 200 nodes`));
  }
});

test('up refuses a folder that holds other things; down removes only what up puts there', async (t) => {
  const folder = folderOf(t);
  writeFileSync(join(folder, 'thesis.txt'), 'years of work');
  for (const flags of [[], ['--detach']]) {
    const { exitCode, err } = await pintle('up', '--state-dir', folder, ...flags);
    t.is(exitCode, 1);
    t.regex(err, /holds other things \(thesis\.txt\)/);
  }
  mkdirSync(join(folder, 'server'));
  t.is((await pintle('down', '--state-dir', folder)).exitCode, 0);
  t.deepEqual(readdirSync(folder), ['thesis.txt']);
});

test('of two ups at once in a folder one is refused, and touches nothing', async (t) => {
  const folder = folderOf(t);
  const up = () => pintle('up', '--state-dir', folder, '--listen', '192.0.2.1:6443');
  const first = await lockFolder(folder);
  const refused = await up();
  t.is(refused.exitCode, 1);
  t.regex(refused.err, /another "pintle up" is at work in/);
  t.true(existsSync(folder));
  first.close();
  t.regex((await up()).err, /192\.0\.2\.1:6443 is no place to listen/);
});
