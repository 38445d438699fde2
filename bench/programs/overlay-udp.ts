/**
 * Overlay flannel-udp beside the kernel's VXLAN, on two nodes and two pods in namespaces of this run's own:
 *
 *     node out/bench/programs/overlay-udp.js [--rounds 5] [--seconds 2] [--modes vxlan,offload] [--conditions veth,wire,lossy]
 *                                          [--gigabytes 0] [--idle 0]
 *
 * Each round sets up each mode in turn under each condition (both explained in bench/overlay/two-nodes.ts) and measures one
 * TCP stream, then a byte there and back. Medians over the rounds, with the least and the most, and the ratio to vxlan of
 * the same rounds: on a machine that others use, only the ratios mean something. --gigabytes sends as much of known content
 * and compares SHA-256 sums; --idle counts the processor time of the data paths over so many seconds without traffic.
 */
import { spawn } from 'node:child_process';
import { cpus, loadavg, release } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { labArguments } from '../../lab/enter-lab.ts';
import {
  conditions,
  modes,
  podAddress,
  processorMs,
  TwoNodes,
  type Condition,
  type Mode,
} from '../overlay/two-nodes.ts';

const inside = 'PINTLE_BENCH_INSIDE';

interface Sample {
  readonly gigabits: number;
  /** Processor time of sender, receiver and data paths for a gigabyte. */
  readonly msPerGigabyte: number;
  readonly p50: number;
  readonly p99: number;
}

async function measure(nodes: TwoNodes, seconds: number): Promise<Sample> {
  const sink = nodes.traffic(2, 'sink', '7001');
  const echo = nodes.traffic(2, 'echo', '7002');
  await sink.lines.next();
  await echo.lines.next();
  const ms = String(seconds * 1_000);
  const dataPaths = await nodes.dataPaths();
  const stream = nodes.traffic(1, 'stream', podAddress(2), '7001', ms);
  // Started and warm.
  await stream.lines.next();
  const pids = [...dataPaths, sink.child.pid, stream.child.pid];
  const before = processorMs(pids);
  const { bytes, ms: took } = (await stream.lines.next()).value as { bytes: number; ms: number };
  const spent = processorMs(pids) - before;
  stream.child.kill('SIGKILL');
  const rr = await one<{ p50: number; p99: number }>(nodes, 'rr', podAddress(2), '7002', ms);
  sink.child.kill('SIGKILL');
  echo.child.kill('SIGKILL');
  return { gigabits: (bytes * 8) / took / 1e6, msPerGigabyte: spent / (bytes / 1e9), p50: rr.p50, p99: rr.p99 };
}

async function one<T>(nodes: TwoNodes, ...args: readonly string[]): Promise<T> {
  const { lines } = nodes.traffic(1, ...args);
  const { value, done } = await lines.next();
  if (done === true) throw new Error(`traffic.js ${args.join(' ')} ended without a result`);
  return value as T;
}

/** Sends known content and compares what arrived. */
async function verify(nodes: TwoNodes, gigabytes: number): Promise<string> {
  const sink = nodes.traffic(2, 'sink', '7003');
  await sink.lines.next();
  const sent = await one<{ digest: string }>(nodes, 'digest', podAddress(2), '7003', String(gigabytes * 1e9));
  const { value } = await sink.lines.next();
  const got = value as { bytes: number; digest: string };
  sink.child.kill('SIGKILL');
  const isEqual = got.digest === sent.digest && got.bytes === gigabytes * 1e9;
  return isEqual ? `${gigabytes} GB arrived as sent` : `CONTENT DIFFERS: ${got.bytes} bytes arrived`;
}

async function idleCpu(nodes: TwoNodes, seconds: number): Promise<string> {
  const pids = await nodes.dataPaths();
  const before = processorMs(pids);
  await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
  return `idle: ${(processorMs(pids) - before).toFixed(1)} ms of processor in ${seconds} s (${pids.length} processes)`;
}

const sorted = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b);
const median = (values: readonly number[]): number => sorted(values)[Math.floor(values.length / 2)] ?? Number.NaN;

function spread(values: readonly number[], digits: number): string {
  const all = sorted(values);
  return `${median(values).toFixed(digits)} (${all[0]?.toFixed(digits)}-${all.at(-1)?.toFixed(digits)})`;
}

function chosen<T extends string>(text: string, known: readonly T[], flag: string): T[] {
  return text.split(',').map((name) => {
    const found = known.find((one) => one === name);
    if (found === undefined) throw new TypeError(`--${flag} takes ${known.join(', ')}; got ${name}`);
    return found;
  });
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '2' },
      modes: { type: 'string', default: modes.join(',') },
      conditions: { type: 'string', default: conditions.join(',') },
      gigabytes: { type: 'string', default: '0' },
      idle: { type: 'string', default: '0' },
    },
  });
  const asked = chosen<Mode>(values.modes, modes, 'modes');
  const under = chosen<Condition>(values.conditions, conditions, 'conditions');
  const seconds = Number(values.seconds);
  const load = loadavg()[0]?.toFixed(1);
  console.log(`${cpus().length} x ${cpus()[0]?.model}, Linux ${release()}, Node ${process.version}, load ${load}`);
  const nodes = new TwoNodes();
  const samples = new Map<string, Sample[]>();
  try {
    for (let round = 0; round < Number(values.rounds); round += 1)
      for (const condition of under)
        for (const mode of asked) {
          await nodes.join(mode, condition);
          const sample = await measure(nodes, seconds);
          const key = `${condition} ${mode}`;
          samples.set(key, [...(samples.get(key) ?? []), sample]);
          await nodes.leave();
        }
    for (const condition of under) report(condition, asked, samples);
    for (const mode of asked) {
      if (Number(values.gigabytes) === 0 && Number(values.idle) === 0) break;
      await nodes.join(mode, under[0] ?? 'veth');
      if (Number(values.gigabytes) > 0) console.log(`${mode}: ${await verify(nodes, Number(values.gigabytes))}`);
      if (Number(values.idle) > 0) console.log(`${mode}: ${await idleCpu(nodes, Number(values.idle))}`);
      await nodes.leave();
    }
  } finally {
    await nodes.destroy();
  }
}

function report(condition: Condition, asked: readonly Mode[], samples: ReadonlyMap<string, readonly Sample[]>): void {
  console.log(`\n${condition}`);
  console.log(
    'mode         Gb/s (min-max)        x vxlan             ms/GB            p50 us           x vxlan             p99 us',
  );
  const base = samples.get(`${condition} vxlan`);
  for (const mode of asked) {
    const own = samples.get(`${condition} ${mode}`) ?? [];
    const ratio = (pick: (sample: Sample) => number): string =>
      base === undefined
        ? ''
        : spread(
            own.map((sample, round) => pick(sample) / pick(base[round]!)),
            2,
          );
    console.log(
      [
        mode.padEnd(11),
        spread(
          own.map(({ gigabits }) => gigabits),
          2,
        ).padEnd(20),
        ratio(({ gigabits }) => gigabits).padEnd(18),
        spread(
          own.map(({ msPerGigabyte }) => msPerGigabyte),
          0,
        ).padEnd(15),
        spread(
          own.map(({ p50 }) => p50),
          0,
        ).padEnd(15),
        ratio(({ p50 }) => p50).padEnd(18),
        spread(
          own.map(({ p99 }) => p99),
          0,
        ),
      ].join('  '),
    );
  }
}

if (process.env[inside] === undefined) {
  const argv = [fileURLToPath(import.meta.url), ...process.argv.slice(2)];
  const isRoot = process.geteuid?.() === 0;
  const child = spawn('unshare', [...labArguments(isRoot), '--', process.execPath, ...argv], {
    stdio: 'inherit',
    env: { ...process.env, [inside]: '1' },
  });
  child.on('exit', (code) => (process.exitCode = code ?? 1));
} else await main();
