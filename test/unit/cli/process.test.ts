/** `pintle server` as a process: ready line, ordered stop, second signal, report, failures. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { pintle } from './cli-runner.ts';

const program = fileURLToPath(new URL('../../../cli/main.js', import.meta.url));

interface Running {
  readonly child: ChildProcess;
  readonly stateDir: string;
  readonly output: () => string;
  readonly exited: Promise<{ readonly code: number | null; readonly signal: string | null }>;
  /** Resolves when the output holds `text`; rejects when the process ends before. */
  says(text: string): Promise<void>;
}

function server(t: ExecutionContext, plugin: string): Running {
  const stateDir = mkdtempSync(join(tmpdir(), 'pintle-process-'));
  writeFileSync(join(stateDir, 'store.mjs'), plugin);
  const none = 'cluster: [], scheduler: [], controller: [], component: []';
  writeFileSync(
    join(stateDir, 'pintle.yaml'),
    `apiVersion: pintle.dev/v1\nkind: ClusterConfiguration\nplugins: { load: [./store.mjs], use: { store: probe, ${none}, runtime: [], attachment: [], overlay: [], proxy: [] } }\n`,
  );
  const argv = [program, 'server', '-c', join(stateDir, 'pintle.yaml'), '--state-dir', join(stateDir, 'state')];
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  const listeners = new Set<() => void>();
  const append = (chunk: Buffer): void => {
    output += chunk.toString();
    for (const listener of listeners) listener();
  };
  child.stdout.on('data', append);
  child.stderr.on('data', append);
  const exited = new Promise<{ code: number | null; signal: string | null }>((resolve) => {
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
  t.teardown(async () => {
    child.kill('SIGKILL');
    await exited;
    rmSync(stateDir, { recursive: true, force: true });
  });
  return {
    child,
    stateDir: join(stateDir, 'state'),
    output: () => output,
    exited,
    says: (text) =>
      new Promise((resolve, reject) => {
        const check = (): void => {
          if (!output.includes(text)) return;
          listeners.delete(check);
          resolve();
        };
        listeners.add(check);
        check();
        void exited.then(() => reject(new Error(`ended without saying ${text}:\n${output}`)));
      }),
  };
}

/** A store of nothing but verbs; `start` and `dispose` are statements. */
const probe = (start: string, dispose: string): string => `
const verbs = Object.fromEntries(['get', 'list', 'commit', 'watch', 'compact', 'status'].map((verb) => [verb, () => {}]));
export default { kind: 'store', name: 'probe', api: 1, summary: 'for a test',
  config: { '~standard': { version: 1, vendor: 'x', validate: (value) => ({ value }) } },
  start: async (context, signal) => { ${start}; return { ...verbs, [Symbol.asyncDispose]: async () => { ${dispose} } }; } };`;

for (const signal of ['SIGTERM', 'SIGINT'] as const)
  test(`says that it is ready, and stops in order on ${signal}`, async (t) => {
    const run = server(t, probe('', 'console.log("disposed")'));
    await run.says('pintle server is ready');
    const running = JSON.parse(readFileSync(join(run.stateDir, 'report.json'), 'utf8')) as { pid: number };
    t.is(running.pid, run.child.pid!);
    const listing = await pintle('plugins', 'ls', '--state-dir', run.stateDir);
    t.regex(listing.out, /store +probe +server +running \(\d+ ms\)/);
    run.child.kill(signal);
    t.deepEqual(await run.exited, { code: 0, signal: null });
    t.regex(run.output(), /disposed/);
    t.regex((await pintle('plugins', 'ls', '--state-dir', run.stateDir)).out, /store +probe +server +stopped/);
  });

test('a second signal ends a stop that hangs', async (t) => {
  const run = server(t, probe('', 'console.log("stopping for ever"); await new Promise(() => {})'));
  await run.says('pintle server is ready');
  run.child.kill('SIGTERM');
  await run.says('stopping for ever');
  run.child.kill('SIGTERM');
  t.deepEqual(await run.exited, { code: 143, signal: null });
});

test('a signal during the start undoes it', async (t) => {
  const start = `console.log('starting'); await new Promise((_, reject) => signal.addEventListener('abort', () => { console.log('undone'); reject(signal.reason); }))`;
  const run = server(t, probe(start, ''));
  await run.says('starting');
  run.child.kill('SIGINT');
  t.deepEqual(await run.exited, { code: 0, signal: null });
  t.regex(run.output(), /undone/);
  t.notRegex(run.output(), /is ready/);
});

test('a plugin that fails to start: its name and reason, exit code 1', async (t) => {
  const run = server(t, probe('throw new Error("no space left")', ''));
  t.deepEqual(await run.exited, { code: 1, signal: null });
  t.regex(run.output(), /\[PLUGIN_START_FAILED\] store\/probe failed to start: no space left/);
});

test('an error that nobody caught leads to an ordered stop and exit code 1', async (t) => {
  const run = server(
    t,
    probe('setTimeout(() => { throw new Error("a bug in a timer"); }, 50)', 'console.log("disposed")'),
  );
  t.deepEqual(await run.exited, { code: 1, signal: null });
  // two pipes: which of them is read first is open
  t.regex(run.output(), /unexpected: Error: a bug in a timer/);
  t.regex(run.output(), /disposed/);
});

test('a state folder that cannot be made: its name and what to do', async (t) => {
  const { exitCode, err } = await pintle('server', '--state-dir', '/dev/null/state');
  t.is(exitCode, 1);
  t.regex(err, /state folder \/dev\/null\/state cannot be made: .*--state-dir/);
});
