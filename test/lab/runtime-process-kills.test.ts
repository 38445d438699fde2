/**
 * Agents that are killed while containers print as fast as they can: each line is in the log once, whole and in order.
 * `PINTLE_TEST_KILLS=300` asks for more kills.
 */
import { appendFileSync, closeSync, mkdtempSync, openSync, readdirSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { StringDecoder } from 'node:string_decoder';
import test from 'ava';
import type { ContainerSpec } from '../../kernel/contract/index.ts';
import { startRuntimeAgent, type RuntimeAgent } from '../../kernel/conformance/runtime/agent.ts';
import { openRuntime } from '../../kernel/conformance/runtime.ts';
import { until } from '../../kernel/conformance/runtime/subject.ts';

const module = new URL('../../plugins/runtimes/process/index.js', import.meta.url).href;
const kills = Number(process.env['PINTLE_TEST_KILLS'] ?? 6);
/** So much output comes between kills that logs are checked and begun anew after so many. */
const killsARound = 20;

/** Small lines, one write each, on both streams, until /kit/end is there. */
const small =
  'i=0; while [ ! -e /kit/end ]; do n=0; while [ $n -lt 200 ]; do i=$((i+1)); n=$((n+1)); echo "$i"; echo "$i" >&2; done; done; echo "last $i"';
/** Full pipes at once, of lines that end anywhere in them. */
const full = 'i=1; while [ ! -e /kit/end ]; do seq $i $((i+49999)); i=$((i+50000)); done; echo "last $((i-1))"';

interface Verdict {
  readonly count: number;
  readonly faults: readonly string[];
}

/** Reads the files of a log in their order, and says where the lines of a stream do not count on. */
function judge(logPath: string, stream: string): Verdict & { readonly last: string } {
  const folder = join(logPath, '..');
  const files = readdirSync(folder).sort((a, b) => b.localeCompare(a, 'en', { numeric: true }));
  const faults: string[] = [];
  let count = 0;
  let last = '';
  let part = '';
  const take = (line: string): void => {
    const match = /^\S{20,30}Z (stdout|stderr) ([FP]) (.*)$/.exec(line);
    if (match === null) {
      faults.push(`no line of a log: ${JSON.stringify(line.slice(0, 100))}`);
      return;
    }
    if (match[1] !== stream) return;
    part += match[3];
    if (match[2] === 'P') return;
    last = part;
    part = '';
    if (last.startsWith('last')) return;
    if (last !== String(count + 1)) faults.push(`after ${count} comes ${JSON.stringify(last.slice(0, 100))}`);
    count = Number.parseInt(last, 10);
  };
  const buffer = Buffer.alloc(1 << 20);
  for (const file of files) {
    const fd = openSync(join(folder, file), 'r');
    const decoder = new StringDecoder('utf8');
    let rest = '';
    for (let length; (length = readSync(fd, buffer)) > 0;) {
      const lines = (rest + decoder.write(buffer.subarray(0, length))).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) take(line);
    }
    closeSync(fd);
    if (rest !== '') faults.push(`a line without an end: ${JSON.stringify(rest.slice(0, 100))}`);
  }
  if (part !== '') faults.push(`a part without an end: ${JSON.stringify(part.slice(0, 100))}`);
  return { count, faults, last };
}

/** One container of each kind from its start to its end, and so many agents killed meanwhile. */
async function round(killsHere: number): Promise<readonly string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'pintle-kills-'));
  const stateDir = join(folder, 'state');
  let agent: RuntimeAgent | undefined;
  try {
    const spec = (name: string, script: string, maxLogBytes: number): ContainerSpec => ({
      ...{ id: name, sandboxId: 's', name, attempt: 0, image: 'host', labels: {}, args: [], env: [] },
      ...{ readOnlyRoot: false, privileged: false, noNewPrivileges: false, addCapabilities: [], dropCapabilities: [] },
      ...{ tty: false, stdin: false, maxLogBytes, maxLogFiles: 500, command: ['sh', '-c', script] },
      mounts: [{ hostPath: folder, containerPath: '/kit', readOnly: false }],
      logPath: join(folder, 'logs', name, '0.log'),
    });
    // One log grows, the other is rotated in almost every piece.
    const specs = [spec('small', small, 100_000), spec('full', full, 0)] as const;
    agent = await startRuntimeAgent(module, stateDir, {});
    await agent.ensureSandbox({
      ...{ id: 's', podNamespace: 'd', podName: 'p', podUid: 'u', hostname: 'h', labels: {}, sysctls: {} },
      ...{ hostNetwork: false, hostIpc: false, hostPid: false, resolvConf: '', etcHosts: '' },
    });
    for (const one of specs) await agent.startContainer(one);
    for (let kill = 0; kill < killsHere; kill++) {
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 60));
      if (kill === killsHere - 1) appendFileSync(join(folder, 'end'), '');
      await agent.kill();
      agent = await startRuntimeAgent(module, stateDir, {});
    }
    // The end is no better a moment than any other.
    for (let kill = 0; kill < killsHere / 4; kill++) {
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 30));
      await agent.kill();
      agent = await startRuntimeAgent(module, stateDir, {});
    }
    const running = agent;
    await until('both have ended', async () => {
      const containers = await running.listContainers();
      return containers.length === 2 && containers.every(({ state }) => state === 'exited') ? true : undefined;
    });
    return specs.flatMap(({ logPath, name }) => {
      const { faults, count, last } = judge(logPath, 'stdout');
      const problems = [...faults];
      if (last !== `last ${count}`) problems.push(`its last line is ${JSON.stringify(last)} after ${count}`);
      if (name === 'small') {
        const other = judge(logPath, 'stderr');
        problems.push(...other.faults.map((fault) => `stderr: ${fault}`));
        if (other.count !== count) problems.push(`stdout counts to ${count}, stderr to ${other.count}`);
      }
      if (count < 1000) problems.push(`it counted to ${count} only`);
      return problems.map((problem) => `${name}: ${problem}`);
    });
  } finally {
    await agent?.kill();
    const last = await openRuntime(module, stateDir);
    await last.purge();
    await last[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  }
}

test('agents that are killed while containers print leave each line in the log once', async (t) => {
  t.timeout(600_000 + kills * 2_000);
  const faults: string[] = [];
  for (let done = 0; done < kills; done += killsARound)
    faults.push(...(await round(Math.min(killsARound, kills - done))));
  t.deepEqual(faults, []);
});
