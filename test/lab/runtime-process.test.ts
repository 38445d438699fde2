/**
 * Runtime `process` against its kit, as root and as an ordinary user in a user namespace. Needs private mount and pid
 * namespaces, which the lab lane brings.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { skipCase } from '../../kernel/conformance/kit.ts';
import type { RecordedResult } from '../../kernel/conformance/recorder.ts';
import { openRuntime, runtimeConformance } from '../../kernel/conformance/runtime.ts';
import { readLog, until } from '../../kernel/conformance/runtime/subject.ts';
import { hostInventory } from './support/host-inventory.ts';

const module = new URL('../../plugins/runtimes/process/index.js', import.meta.url).href;
const isRealRoot =
  process.getuid?.() === 0 && /^\s*0\s+0\s+4294967295/.test(readFileSync('/proc/self/uid_map', 'utf8'));
const before = hostInventory([]);
const stateDirs: string[] = [];

runtimeConformance(test, {
  name: isRealRoot ? 'process as root' : 'process in a user namespace',
  capabilities: [
    ...(isRealRoot ? (['limits', 'pids'] as const) : []),
    ...(['images', 'tty', 'real', 'init', 'log-bound', 'exec-end', 'shared-pid'] as const),
  ],
  image: 'host',
  module,
  open: (stateDir) => {
    stateDirs.push(stateDir);
    return openRuntime(module, stateDir);
  },
});

test("a container of image host sees nothing of Pintle's own, and writes where the state folder lies", async (t) => {
  const folder = mkdtempSync('/var/tmp/pintle-hidden-');
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const stateDir = join(folder, 'agent', 'runtime', 'process');
  stateDirs.push(stateDir);
  const runtime = await openRuntime(module, stateDir);
  t.teardown(async () => {
    await runtime.purge();
    await runtime[Symbol.asyncDispose]();
  });
  writeFileSync(join(folder, 'agent', 'key'), 'secret');
  await runtime.ensureSandbox({
    ...{ id: 's', podNamespace: 'd', podName: 'p', podUid: 'u', hostname: 'h', labels: {}, sysctls: {} },
    ...{ hostNetwork: false, hostIpc: false, hostPid: false, resolvConf: '', etcHosts: '' },
  });
  const logPath = join(folder, 'log');
  await runtime.startContainer({
    ...{
      id: 'c',
      sandboxId: 's',
      name: 'c',
      attempt: 0,
      image: 'host',
      labels: {},
      args: [],
      env: [],
      mounts: [],
      logPath,
    },
    ...{ readOnlyRoot: false, privileged: false, noNewPrivileges: false, addCapabilities: [], dropCapabilities: [] },
    ...{ tty: false, stdin: false, maxLogBytes: 1e6, maxLogFiles: 2 },
    command: [
      'sh',
      '-c',
      'ls -A "$0/agent"; cat "$0/agent/key" || echo none; echo x > /var/pintle-kit && cat /var/pintle-kit',
      folder,
    ],
  });
  await until('it has ended', async () => (await runtime.listContainers()).find(({ state }) => state === 'exited'));
  t.is(readLog(logPath).text('stdout'), 'none\nx\n');
  t.false(existsSync('/var/pintle-kit'));
});

const title = 'process passes the kit as an ordinary user in a user namespace';
if (!isRealRoot) skipCase(test, title, 'the whole lane runs in one');
else
  test(title, async (t) => {
    t.timeout(600_000);
    const folder = mkdtempSync(join(tmpdir(), 'pintle-runtime-user-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    chownSync(folder, 65534, 65534);
    chmodSync(folder, 0o700);
    const runner = fileURLToPath(new URL('support/run-runtime-kit.js', import.meta.url));
    const asUser = [
      'setpriv',
      '--reuid=65534',
      '--regid=65534',
      '--clear-groups',
      '--inh-caps=-all',
      '--bounding-set=-all',
    ];
    const isolated = [
      'unshare',
      '--user',
      '--map-root-user',
      '--mount',
      '--pid',
      '--net',
      '--fork',
      '--kill-child',
      '--mount-proc',
    ];
    const [program, ...args] = [...asUser, ...isolated, process.execPath, runner, folder];
    const child = spawn(program, args, {
      cwd: '/',
      env: { PATH: process.env['PATH'] },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    t.teardown(() => child.kill('SIGKILL'));
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    await once(child, 'close');
    const results = (stdout === '' ? [] : JSON.parse(stdout)) as readonly RecordedResult[];
    t.true(results.length > 40, `the kit did not run: ${stderr}`);
    for (const { title: name, outcome, failures } of results)
      t.not(outcome, 'failed', `${name}: ${failures.join('; ')}`);
    t.deepEqual(readdirSync(folder), [], 'folders are left');
  });

test.after.always('nothing is left on the host', (t) => {
  t.true(stateDirs.length > 0);
  const { processes, ...rest } = hostInventory(stateDirs);
  const { processes: earlier, ...restBefore } = before;
  t.deepEqual(rest, restBefore);
  // What an earlier file left may have been ending when this one began: only what is more counts.
  const known = [...earlier];
  const more = processes.filter((line) => {
    const at = known.indexOf(line);
    if (at !== -1) known.splice(at, 1);
    return at === -1;
  });
  t.deepEqual(more, []);
});
