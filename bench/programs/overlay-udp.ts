/**
 * Overlay flannel-udp beside the kernel's VXLAN, on two nodes and two pods in namespaces of this run's own:
 *
 *     node out/bench/programs/overlay-udp.js [--rounds 5] [--seconds 2] [--modes vxlan,offload] [--conditions veth,wire,off,lossy]
 *                                          [--gigabytes 0] [--idle 0] [--stops 0] [--family 4]
 *                                          [--threads 1]
 *     node out/bench/programs/overlay-udp.js --aims
 *
 * Each round sets up each mode in turn under each condition (both explained in bench/overlay/two-nodes.ts) and measures one
 * TCP stream, then a byte there and back. Medians over the rounds, with the least and the most, and the ratio to vxlan of
 * the same rounds: on a machine that others use, only the ratios mean something. ms/GB is processor time of the processes that
 * take part; that of the whole machine has the kernel's own threads in it, and means something where nothing else runs. --gigabytes sends as much of known content
 * and compares SHA-256 sums; --idle counts the processor time of the data paths over so many seconds without traffic; --stops
 * ends a data path so many times in the middle of a stream; --family 6: pods speak IPv6;
 * --threads: of each data path. --aims does all of it, short, in at
 * most six minutes on an idle machine, and says of each aim whether it was reached.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, loadavg, release } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { machineCpuSeconds } from '../bed/processes.ts';
import { judgeAims, spread, type Measured, type Sample } from '../overlay/aims.ts';
import { labArguments } from '../../lab/enter-lab.ts';
import {
  conditions,
  modes,
  podAddress,
  processorMs,
  TwoNodes,
  type Condition,
  type Mode,
  type PodFamily,
  type StopTimes,
} from '../overlay/two-nodes.ts';

const inside = 'PINTLE_BENCH_INSIDE';

async function measure(nodes: TwoNodes, seconds: number, family: PodFamily): Promise<Sample> {
  const sink = nodes.traffic(2, 'sink', '7001');
  const echo = nodes.traffic(2, 'echo', '7002');
  await sink.lines.next();
  await echo.lines.next();
  const ms = String(seconds * 1_000);
  const dataPaths = await nodes.dataPaths();
  const stream = nodes.traffic(1, 'stream', podAddress(2, family), '7001', ms);
  // Started and warm.
  await stream.lines.next();
  const pids = [...dataPaths, sink.child.pid, stream.child.pid];
  const machineBefore = machineCpuSeconds();
  const before = processorMs(pids);
  const { bytes, ms: took } = (await stream.lines.next()).value as { bytes: number; ms: number };
  const spent = processorMs(pids) - before;
  const machineMs = (machineCpuSeconds() - machineBefore) * 1_000;
  stream.child.kill('SIGKILL');
  const rr = await one<{ p50: number; p99: number }>(nodes, 'rr', podAddress(2, family), '7002', ms);
  sink.child.kill('SIGKILL');
  echo.child.kill('SIGKILL');
  const gigabytes = bytes / 1e9;
  return {
    gigabits: (bytes * 8) / took / 1e6,
    msPerGigabyte: spent / gigabytes,
    machineMsPerGigabyte: machineMs / gigabytes,
    p50: rr.p50,
    p99: rr.p99,
  };
}

async function one<T>(nodes: TwoNodes, ...args: readonly string[]): Promise<T> {
  const { lines } = nodes.traffic(1, ...args);
  const { value, done } = await lines.next();
  if (done === true) throw new Error(`traffic.js ${args.join(' ')} ended without a result`);
  return value as T;
}

/** Sends known content and compares what arrived. */
async function verify(nodes: TwoNodes, gigabytes: number, family: PodFamily): Promise<string> {
  const sink = nodes.traffic(2, 'sink', '7003');
  await sink.lines.next();
  const sent = await one<{ digest: string }>(nodes, 'digest', podAddress(2, family), '7003', String(gigabytes * 1e9));
  const { value } = await sink.lines.next();
  const got = value as { bytes: number; digest: string };
  sink.child.kill('SIGKILL');
  const isEqual = got.digest === sent.digest && got.bytes === gigabytes * 1e9;
  return isEqual ? `${gigabytes} GB arrived as sent` : `CONTENT DIFFERS: ${got.bytes} bytes arrived`;
}

async function verifyIpv6(): Promise<string> {
  const nodes = new TwoNodes(6);
  try {
    await nodes.join('kernel', 'veth');
    return await verify(nodes, 1, 6);
  } finally {
    await nodes.destroy();
  }
}

async function idleCpu(nodes: TwoNodes, seconds: number): Promise<number> {
  const pids = await nodes.dataPaths();
  // In the first ten seconds the engine gives back memory that it needed for the start.
  await new Promise((resolve) => setTimeout(resolve, 10_000));
  const before = processorMs(pids);
  await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
  return (processorMs(pids) - before) / seconds;
}

/** Ends a data path in the middle of a stream. */
async function stopUnderLoad(nodes: TwoNodes, family: PodFamily): Promise<StopTimes> {
  const sink = nodes.traffic(2, 'sink', '7001');
  await sink.lines.next();
  const stream = nodes.traffic(1, 'stream', podAddress(2, family), '7001', '60000');
  await stream.lines.next();
  const taken = await nodes.timeStop();
  for (const { child } of [sink, stream]) child.kill('SIGKILL');
  return taken;
}

function stopLine(taken: readonly StopTimes[]): string {
  const of = (pick: (one: StopTimes) => number): string => spread(taken.map(pick), 1);
  return [
    `last packet had arrived ${of(({ packetsMs }) => packetsMs)}`,
    `process was gone ${of(({ processMs }) => processMs)}`,
    `devices and all else were ${of(({ removedMs }) => removedMs)}`,
  ].join(', ');
}

function chosen<T extends string>(text: string, known: readonly T[], flag: string): T[] {
  return text.split(',').map((name) => {
    const found = known.find((one) => one === name);
    if (found === undefined) throw new TypeError(`--${flag} takes ${known.join(', ')}; got ${name}`);
    return found;
  });
}

/** As long as all rounds of --aims may take. */
const aimsRoundsMs = 240_000;
/** What --aims stands for. */
const aimsOptions = {
  rounds: '3',
  seconds: '1',
  modes: 'vxlan,offload,super,kernel',
  gigabytes: '2',
  idle: '5',
  stops: '5',
};

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      aims: { type: 'boolean', default: false },
      rounds: { type: 'string', default: '5' },
      seconds: { type: 'string', default: '2' },
      modes: { type: 'string', default: modes.join(',') },
      conditions: { type: 'string', default: conditions.join(',') },
      gigabytes: { type: 'string', default: '0' },
      idle: { type: 'string', default: '0' },
      stops: { type: 'string', default: '0' },
      family: { type: 'string', default: '4' },
      threads: { type: 'string', default: '1' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(help());
    return;
  }
  const wanted = values.aims ? { ...values, ...aimsOptions } : values;
  const asked = chosen<Mode>(wanted.modes, modes, 'modes');
  const under = chosen<Condition>(wanted.conditions, conditions, 'conditions');
  const family = chosen(values.family, ['4', '6'], 'family')[0] === '6' ? 6 : 4;
  const threads = Number(chosen(values.threads, ['1', '2', '4', '8'], 'threads')[0]) as 1 | 2 | 4 | 8;
  const [seconds, gigabytes, idle, stops] = [wanted.seconds, wanted.gigabytes, wanted.idle, wanted.stops].map(
    Number,
  ) as [number, number, number, number];
  const began = new Date();
  console.log(
    `${cpus().length} x ${cpus()[0]?.model}, Linux ${release()}, Node ${process.version}, ${began.toISOString()}, load ${loadNow()}`,
  );
  const nodes = new TwoNodes(family, threads);
  const measured: Measured = { samples: new Map(), idleMs: new Map(), stopMs: new Map(), content: new Map() };
  try {
    for (let round = 0; round < Number(wanted.rounds); round += 1) {
      const spentMs = Date.now() - began.getTime();
      if (values.aims && round > 0 && (spentMs / round) * (round + 1) > aimsRoundsMs) {
        console.log(`${round} rounds: one more would take too long on so busy a machine`);
        break;
      }
      for (const condition of under)
        for (const mode of [...asked, ...(values.aims && condition === 'veth' ? (['one-packet'] as const) : [])]) {
          await nodes.join(mode, condition);
          add(measured.samples, `${condition} ${mode}`, await measure(nodes, seconds, family));
          await nodes.leave();
        }
    }
    for (const condition of under) report(condition, values.aims ? [...asked, 'one-packet'] : asked, measured.samples);
    for (const mode of asked.filter((one) => one !== 'routed' && one !== 'one-packet')) {
      const isOurs = mode !== 'vxlan';
      if (isOurs && (gigabytes > 0 || idle > 0)) await nodes.join(mode, under[0] ?? 'veth');
      if (isOurs && gigabytes > 0) measured.content.set(mode, await verify(nodes, gigabytes, family));
      if (isOurs && gigabytes > 0) console.log(`${mode}: ${measured.content.get(mode)}`);
      // An idle data path does the same in any framing.
      const isIdled = isOurs && idle > 0 && (mode !== 'super' || !values.aims);
      if (isIdled) measured.idleMs.set(mode, await idleCpu(nodes, idle));
      if (isIdled) console.log(`${mode}, idle: ${measured.idleMs.get(mode)?.toFixed(2)} ms of processor a second`);
      await nodes.leave();
      for (let stop = 0; stop < stops; stop += 1) {
        await nodes.join(mode, under[0] ?? 'veth');
        add(measured.stopMs, mode, await stopUnderLoad(nodes, family));
        await nodes.leave();
      }
      const taken = measured.stopMs.get(mode);
      if (taken !== undefined) console.log(`${mode}, stop in the middle of a stream, ms until the ${stopLine(taken)}`);
    }
  } finally {
    await nodes.destroy();
  }
  if (values.aims) console.log(`kernel, IPv6: ${await verifyIpv6()}`);
  if (values.aims) for (const line of judgeAims(measured)) console.log(line);
  console.log(`took ${((Date.now() - began.getTime()) / 1_000).toFixed(0)} s, load at the end ${loadNow()}`);
}

const loadNow = (): string => loadavg()[0]?.toFixed(1) ?? '';

function add<T>(lists: Map<string, T[]>, key: string, value: T): void {
  lists.set(key, [...(lists.get(key) ?? []), value]);
}

function help(): string {
  return readFileSync(fileURLToPath(import.meta.url), 'utf8')
    .split('*/')[0]!
    .replace(/^\/\*\*\n/, '')
    .replace(/^ \* ?/gm, '');
}

function report(condition: Condition, asked: readonly Mode[], samples: ReadonlyMap<string, readonly Sample[]>): void {
  console.log(`\n${condition}`);
  console.log(
    'mode         Gb/s (min-max)        x vxlan             ms/GB            machine ms/GB    p50 us           x vxlan             p99 us',
  );
  const base = samples.get(`${condition} vxlan`);
  for (const mode of asked) {
    const own = samples.get(`${condition} ${mode}`);
    if (own === undefined) continue;
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
          own.map(({ machineMsPerGigabyte }) => machineMsPerGigabyte),
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
