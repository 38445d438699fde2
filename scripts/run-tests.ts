/**
 * Runs the test lanes one after the other, counts what their TAP really says, and ends with one line:
 * "N passed, N failed, N skipped". Fails on any failure, on a lane that ran nothing, and with REQUIRE_ALL=1 on a skip.
 *
 * Test files share the machine with each other, so a few failures are given a second hearing: the file runs once more,
 * alone, when everything else is over. A test that fails twice is a failure, and so is a file without a hearing in which
 * all passes; when another test of it fails in the second, there is a third. What passes then is counted as passed, and
 * named with its failures, which somebody has to read.
 */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { kernelProblem } from '../lab/kernels/run-on.ts';
import { failedFiles, fileOf, isSameTest } from './failed-files.ts';
import { judgeLane, type LaneRun, summary } from './judge-lane.ts';
import type { TapResult } from './tap.ts';

/** Lab; whole clusters; another Node, another kernel and the benchmark. */
const tracks = ['lab', 'cluster', 'others'] as const;
type Track = (typeof tracks)[number];

interface Lane {
  readonly name: string;
  readonly argv: readonly string[];
  /** A tool that reports by its exit code counts as one check; the others speak TAP. */
  readonly isTool: boolean;
  /** Lanes with a track leave much of the machine idle: the tracks run at the same time, each its lanes in their order. */
  readonly track?: Track;
  /** Run only when it is named: too long for every run. */
  readonly isByName?: boolean;
  /** Why this host cannot run it; undefined: it can. */
  problem?(): string | undefined;
  /** The lane's test files, and the lane with one of them only, for a second hearing. Absent: what fails has failed. */
  readonly again?: { files(): readonly string[]; argv(file: string): readonly string[] };
}

const laneDeadlineMs = 20 * 60_000;
/** A lane that says nothing for so long hangs: AVA itself ends a test that has done nothing for 10 minutes at most. */
const laneSilenceMs = 11 * 60_000;
/** What a lane leaves behind may hold its pipes open; nobody waits for that. */
const pipeGraceMs = 10_000;
const ava = (config: string, node = process.execPath, ...files: readonly string[]): readonly string[] => [
  ...[node, 'out/scripts/ava.js', '--tap', '--config', config, ...files],
];

/** Private namespaces, an own user namespace when not root. All processes of the lane die with it. */
function inPrivateNamespaces(argv: readonly string[]): readonly string[] {
  const user = process.geteuid?.() === 0 ? [] : ['--user', '--map-root-user'];
  const unshare = ['unshare', ...user, '--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
  return [...unshare, 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh', ...argv];
}

const lanes: readonly Lane[] = [
  { name: 'lint', argv: ['node_modules/.bin/oxlint', '--type-aware', '--deny-warnings'], isTool: true },
  { name: 'format', argv: ['node_modules/.bin/prettier', '--check', '.'], isTool: true, track: 'others' },
  pureLane('unit', process.execPath),
  { ...testLane('lab', inPrivateNamespaces), track: 'lab' },
  { ...testLane('cluster', (argv) => argv), track: 'cluster' },
  ...otherNode(process.env['PINTLE_TEST_NODE']),
  { ...secondKernelLane('vm'), track: 'others' },
  { ...secondKernelLane('uml', 'uml'), track: 'others' },
  { ...secondKernelLane('vm-cluster'), isByName: true },
  { ...testLane('interop', (argv) => argv), isByName: true, problem: interopProblem },
  { ...testLane('bench', (argv) => argv), track: 'others' },
];

const testFiles = (folder: string): readonly string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.js'))
    .map((file) => join(folder, file));

/** Tests of out/test/NAME under ava.NAME.config.js, started by `inside`. */
function testLane(name: string, inside: (argv: readonly string[]) => readonly string[]): Lane {
  const config = `ava.${name}.config.js`;
  return {
    ...{ name, argv: inside(ava(config)), isTool: false },
    again: {
      files: () => testFiles(`out/test/${name}`),
      argv: (file) => inside(ava(config, process.execPath, file)),
    },
  };
}

/** The pure tests, all or those of some folders. */
function pureLane(name: string, node: string, folders = ['unit', 'conformance', 'architecture']): Lane {
  const patterns = folders.map((folder) => `out/test/${folder}/**/*.test.js`);
  return {
    ...{ name, argv: ava('ava.config.js', node, ...patterns), isTool: false },
    again: {
      files: () => folders.flatMap((folder) => testFiles(`out/test/${folder}`)),
      argv: (file) => ava('ava.config.js', node, file),
    },
  };
}

/** Inside a virtual machine with another kernel, or on such a kernel as a process. */
function secondKernelLane(name: string, target: 'vm' | 'uml' = 'vm'): Lane {
  return {
    ...testLane(name, (argv) => [process.execPath, 'out/lab/kernels/run-on.js', '--target', target, '--', ...argv]),
    problem: () => {
      const problem = kernelProblem(target);
      return problem === undefined ? undefined : `${problem.reason}; ${problem.fix}`;
    },
  };
}

/** Programs of others that no package of Debian has. */
function interopProblem(): string | undefined {
  const program = process.env['PINTLE_TEST_FLANNELD'];
  return program !== undefined && existsSync(program)
    ? undefined
    : 'PINTLE_TEST_FLANNELD does not name a flanneld; build one (docs/kubernetes.md says how) and set it';
}

/**
 * With another Node named in PINTLE_TEST_NODE: the pure tests of what uses much of Node itself (HTTP, streams, processes, timers,
 * native modules), and a scenario in which all of it runs as one cluster. The rest is computing, the same on each.
 */
function otherNode(node: string | undefined): readonly Lane[] {
  if (node === undefined || node === '') return [];
  const ofNode = [
    'api-server',
    'cli',
    'clusters-remote',
    'dns',
    'kernel',
    'machinery-store',
    'runtime-process',
    'stores',
  ];
  const folders = ['conformance', ...ofNode.map((area) => `unit/${area}`)];
  const scenario = 'out/test/cluster/kubectl.test.js';
  const argv = ava('ava.cluster.config.js', node, scenario);
  return [
    { ...pureLane('unit-other-node', node, folders), track: 'others' },
    {
      ...{ name: 'cluster-other-node', argv, isTool: false, track: 'others' },
      again: { files: () => [scenario], argv: () => argv },
    },
  ];
}

/** npm puts node_modules/.bin first in PATH, where a package has a command called nft: tests want the host's. */
const laneEnvironment = {
  ...process.env,
  // Hundreds of processes load the same modules: Node from 22 on compiles each of them once.
  NODE_COMPILE_CACHE: resolve('.state/compile-cache'),
  PATH: (process.env['PATH'] ?? '')
    .split(':')
    .filter((folder) => !folder.endsWith('/node_modules/.bin'))
    .join(':'),
};

let isInterrupted = false;

function run([command, ...argv]: readonly string[], silenceMs: number): Promise<LaneRun> {
  return new Promise((resolve) => {
    const child = spawn(command!, argv, { stdio: ['ignore', 'pipe', 'pipe'], detached: true, env: laneEnvironment });
    const chunks: Buffer[] = [];
    const errorChunks: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      silence.refresh();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      errorChunks.push(chunk);
      silence.refresh();
    });
    const endGroup = (signal: NodeJS.Signals): void => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, signal);
      } catch {
        // the group is gone
      }
    };
    const onInterrupt = (): void => {
      endGroup('SIGTERM');
      isInterrupted = true;
    };
    process.once('SIGINT', onInterrupt).once('SIGTERM', onInterrupt);
    const endAfter = (ms: number, what: string): NodeJS.Timeout =>
      setTimeout(() => {
        errorChunks.push(Buffer.from(`ended after ${ms / 60_000} minutes${what}\n`));
        endGroup('SIGKILL');
      }, ms);
    const deadline = endAfter(laneDeadlineMs, '');
    const silence = endAfter(silenceMs, ' without a word');
    const finish = (exitCode: number): void => {
      clearTimeout(deadline);
      clearTimeout(silence);
      process.off('SIGINT', onInterrupt).off('SIGTERM', onInterrupt);
      resolve({
        output: Buffer.concat(chunks).toString(),
        errorOutput: Buffer.concat(errorChunks).toString(),
        exitCode,
      });
    };
    child.once('error', (error) => {
      errorChunks.push(Buffer.from(`${error.message}\n`));
      finish(127);
    });
    child.once('close', (code) => finish(code ?? 1));
    child.once('exit', (code) => setTimeout(() => finish(code ?? 1), pipeGraceMs).unref());
  });
}

/** The compiler leaves the output of a deleted test behind, and it would go on passing. */
function removeOrphans(): void {
  for (const name of readdirSync('out/test', { recursive: true, encoding: 'utf8' }))
    if (name.endsWith('.js') && !existsSync(join('test', name.replace(/\.js$/, '.ts')))) rmSync(join('out/test', name));
}

/** More failures than these, in files, are no accident. */
const secondHearings = 3;

/** What is left of the failures when their files have run alone. */
async function hearAgain(heard: readonly (readonly [Lane, TapResult])[]): Promise<readonly TapResult[]> {
  const again = heard.map(([{ again: lane }, { failures }]) => {
    if (lane === undefined || failures.length === 0) return [];
    return failedFiles(failures, lane.files());
  });
  const count = again.reduce((sum, files) => sum + (files?.length ?? 0), 0);
  if (count > secondHearings) return heard.map(([, result]) => result);
  const results: TapResult[] = [];
  for (const [index, [lane, result]] of heard.entries()) {
    const failures: string[] = [];
    const heardAlone: TapResult[] = [];
    for (const file of again[index] ?? []) {
      const alone = await hearAlone(lane, file, result.failures);
      failures.push(...alone.failures);
      heardAlone.push(alone);
    }
    const isCleared = (again[index]?.length ?? 0) > 0 && failures.length === 0 && !isInterrupted;
    if (isCleared) {
      // What the first hearing says of these files is not counted beside the second.
      const isOfOthers = (title: string): boolean => !again[index]!.includes(fileOf(title, lane.again!.files()) ?? '');
      const passes = [...result.passes.filter(isOfOthers), ...heardAlone.flatMap((one) => one.passes)];
      const skips = [...result.skips.filter(isOfOthers), ...heardAlone.flatMap((one) => one.skips)];
      console.log(
        `${lane.name}: failed beside the other lanes and passed alone: ${result.failures.length}, read above`,
      );
      results.push({ passed: passes.length, passes, failures: [], skips });
    } else results.push(result);
  }
  return results;
}

/** Ends with a hearing in which all passes, or one in which a test fails that has failed before. */
async function hearAlone(
  lane: Lane,
  file: string,
  failures: readonly string[],
  [hearing, ...further]: readonly string[] = ['second', 'third'],
): Promise<TapResult> {
  console.log(`${lane.name}: once more, alone: ${file}`);
  const again = { ...lane.again!, files: () => [file] };
  const result = await runLane({ ...lane, name: `${lane.name}, ${hearing} hearing`, argv: again.argv(file), again });
  const isOver = result.failures.length === 0 || further.length === 0 || isInterrupted;
  if (isOver || result.failures.some((one) => failures.some((earlier) => isSameTest(earlier, one)))) return result;
  return hearAlone(lane, file, [...failures, ...result.failures], further);
}

async function runLane({ name, argv, isTool, isByName, problem, again }: Lane): Promise<TapResult> {
  const reason = problem?.();
  if (reason !== undefined) {
    console.log(`skipped: lane ${name}: ${reason}`);
    return { passed: 0, passes: [], failures: [], skips: [`lane ${name}: ${reason}`] };
  }
  const began = performance.now();
  const ran = await run(argv, isByName === true ? laneDeadlineMs : laneSilenceMs);
  const result = judgeLane(name, isTool, ran, again?.files());
  for (const failure of result.failures) console.log(failure);
  for (const skip of result.skips) console.log(`skipped: ${skip}`);
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  console.log(`${name}: ${summary(result)} (${seconds} s)`);
  return result;
}

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !lanes.some((lane) => lane.name === name));
if (unknown.length > 0) {
  console.error(`no lane is named ${unknown.join(', ')}; known: ${lanes.map(({ name }) => name).join(', ')}`);
  process.exitCode = 2;
} else {
  removeOrphans();
  const heard: (readonly [Lane, TapResult])[] = [];
  const chosen = lanes.filter(({ name, isByName }) =>
    wanted.length === 0 ? isByName !== true : wanted.includes(name),
  );
  const runTrack = async (track: Track | undefined): Promise<void> => {
    for (const lane of chosen.filter((one) => one.track === track))
      if (!isInterrupted) heard.push([lane, await runLane(lane)]);
  };
  await runTrack(undefined);
  await Promise.all(tracks.map(runTrack));
  const results = isInterrupted ? heard.map(([, result]) => result) : await hearAgain(heard);
  const total: TapResult = {
    passed: results.reduce((sum, { passed }) => sum + passed, 0),
    passes: results.flatMap(({ passes }) => passes),
    failures: results.flatMap(({ failures }) => failures),
    skips: results.flatMap(({ skips }) => skips),
  };
  const isGreen = total.failures.length === 0 && !(process.env['REQUIRE_ALL'] === '1' && total.skips.length > 0);
  process.exitCode = isInterrupted ? 130 : isGreen ? 0 : 1;
  console.log(summary(total));
}
