/** What `pintle up` and `pintle server` say on hosts that lack something: exact words, nothing half-started. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync, existsSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { program, run } from './support/cluster.ts';

function folder(t: ExecutionContext): string {
  const made = mkdtempSync(join(tmpdir(), 'pintle-bad-'));
  t.teardown(() => rmSync(made, { recursive: true, force: true }));
  return made;
}

const pintle = (argv: readonly string[], env: NodeJS.ProcessEnv = process.env) =>
  run(process.execPath, [program, ...argv], { env });

test('a port in use is named, and nothing stays', async (t) => {
  const state = join(folder(t), 's');
  const busy = createServer();
  await new Promise<void>((resolve) => busy.listen(0, '127.0.0.1', resolve));
  t.teardown(() => busy.close());
  const { port } = busy.address() as AddressInfo;
  const { code, stdout, stderr } = await pintle([
    'up',
    '--nodes',
    '1',
    '--state-dir',
    state,
    '--listen',
    `127.0.0.1:${port}`,
  ]);
  t.is(code, 1);
  t.regex(stdout + stderr, new RegExp(`${port}.*in use`));
  t.false(existsSync(join(state, 'up.json')));
});

test('without nft: what is missing and the Debian command, before anything starts', async (t) => {
  const base = folder(t);
  for (const name of ['upper', 'work']) mkdirSync(join(base, name));
  // The command is removed from a private view of /usr/sbin.
  const hide = `mount -t overlay -o lowerdir=/usr/sbin,upperdir=${base}/upper,workdir=${base}/work overlay /usr/sbin && rm /usr/sbin/nft && exec "$@"`;
  const argv = [
    process.execPath,
    program,
    'up',
    '--nodes',
    '1',
    '--state-dir',
    join(base, 's'),
    '--listen',
    '127.0.0.1:0',
  ];
  if (process.getuid?.() !== 0) return t.log('skipped: hiding a command needs root');
  const { code, stdout, stderr } = await run('unshare', [
    '--mount',
    '--propagation',
    'private',
    'sh',
    '-c',
    hide,
    'hide',
    ...argv,
  ]);
  t.is(code, 1, stdout);
  t.regex(stdout + stderr, /nftables/);
  t.regex(stdout + stderr, /apt-get install nftables/);
  t.notRegex(stdout, /API server/);
  return t.false(existsSync(join(base, 's', 'up.json')));
});

test('without setpriv and flock: both are named before anything starts', async (t) => {
  if (process.getuid?.() !== 0) return t.log('skipped: hiding a command needs root');
  const base = folder(t);
  for (const name of ['upper', 'work']) mkdirSync(join(base, name));
  const hide = `mount -t overlay -o lowerdir=/usr/bin,upperdir=${base}/upper,workdir=${base}/work overlay /usr/bin && rm /usr/bin/setpriv /usr/bin/flock && exec "$@"`;
  const state = join(base, 's');
  const argv = [process.execPath, program, 'up', '--nodes', '1', '--state-dir', state, '--listen', '127.0.0.1:0'];
  const view = ['--mount', '--propagation', 'private', 'sh', '-c', hide, 'hide', ...argv];
  const { code, stdout, stderr } = await run('unshare', view);
  t.is(code, 1, stdout);
  t.regex(stdout + stderr, /setpriv, flock are missing[^]*apt-get install util-linux/);
  t.notRegex(stdout, /network of the lab/);
  return t.false(existsSync(join(state, 'up.json')));
});

test('a state folder where no folder can be made, as in /proc', async (t) => {
  for (const command of ['up', 'server']) {
    const { code, stdout, stderr } = await pintle([
      command,
      '--state-dir',
      '/proc/pintle/deep',
      '--listen',
      '127.0.0.1:0',
    ]);
    t.is(code, 1);
    t.regex(stdout + stderr, /state folder \/proc\/pintle\/deep cannot be made.*--state-dir/s);
  }
});

test('a state folder that cannot be written', async (t) => {
  const base = folder(t);
  const state = join(base, 'ro');
  mkdirSync(state);
  chmodSync(state, 0o555);
  chmodSync(base, 0o755);
  const argv = [process.execPath, program, 'server', '--state-dir', join(state, 's'), '--listen', '127.0.0.1:0'];
  const asUser = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups', ...argv];
  const [command, ...rest] = process.getuid?.() === 0 ? asUser : argv;
  const { code, stderr, stdout } = await run(command!, rest);
  t.is(code, 1);
  t.regex(stdout + stderr, /state folder .*ro\/s.*cannot be made.*--state-dir/s);
});

test('usage errors have exit code 2', async (t) => {
  t.is((await pintle(['up', '--nodes', 'zero'])).code, 2);
  t.is((await pintle(['up', '--nope'])).code, 2);
  t.is((await pintle(['server', '--listen', 'nonsense'])).code, 2);
});

test('a wrong config is told with line and column before anything starts', async (t) => {
  const base = folder(t);
  const file = join(base, 'c.yaml');
  writeFileSync(
    file,
    'apiVersion: pintle.dev/v1\nkind: ClusterConfiguration\nplugins:\n  use:\n    overlay: { name: vxlna }\n',
  );
  const { code, stdout, stderr } = await pintle(['up', '--config', file, '--state-dir', join(base, 's')]);
  t.is(code, 1);
  t.regex(stdout + stderr, /c\.yaml:5:\d+/);
  t.regex(stdout + stderr, /vxlan/);
});

test('a plugin that throws, hangs or returns garbage fails the start by name', async (t) => {
  const base = folder(t);
  const contract = new URL('../../kernel/contract/index.js', import.meta.url).href;
  const zod = import.meta.resolve('zod');
  const starts = {
    throws: 'throw new Error("kaputt")',
    garbage: 'return 42',
    hangs: 'await new Promise(() => setTimeout(() => {}, 1e9))',
  };
  for (const [name, body] of Object.entries(starts)) {
    writeFileSync(
      join(base, `${name}.mjs`),
      `import { definePlugin } from '${contract}'; import { z } from '${zod}';
export default definePlugin({ kind: 'controller', name: '${name}', api: 1, summary: 's', config: z.strictObject({}), startDeadlineMs: 300, start: async () => { ${body} } });`,
    );
    const file = join(base, `${name}.yaml`);
    writeFileSync(
      file,
      `apiVersion: pintle.dev/v1\nkind: ClusterConfiguration\nplugins:\n  load: [./${name}.mjs]\n  use:\n    store: { name: memory }\n    controller: [{ name: ${name} }]\n`,
    );
    const { code, stdout, stderr } = await pintle([
      'server',
      '--config',
      file,
      '--state-dir',
      join(base, name),
      '--listen',
      '127.0.0.1:0',
    ]);
    t.is(code, 1, name);
    t.regex(stdout + stderr, new RegExp(`controller/${name}`), name);
  }
});
