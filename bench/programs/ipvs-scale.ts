/**
 * What one Service more costs proxy `ipvs` with few and with many there, on a kernel that has IPVS:
 *
 *     node out/lab/kernels/run-on.js --target uml -- node out/bench/programs/ipvs-scale.js
 *         [--services 0,1000,10000] [--rounds 6] [--samples 20] [--families ip] [--backend auto] [--json FILE]
 *
 * One proxy in one network namespace that vanishes goes through all the sizes in turn, again and again, so that what else
 * the machine does meets each of them alike. Beside the time, which that disturbs, it counts what nothing disturbs: netlink
 * datagrams and bytes of each change. And the time inside send(2), which is the kernel's own work, and CPU time.
 */
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Logger, ProxyPort } from '../../kernel/contract/index.ts';
import type { IptablesBackend } from '../../netplugins/linux/iptables.ts';
import { libc, type Libc } from '../../netplugins/linux/libc.ts';
import { withScratchNetns } from '../../netplugins/linux/namespaces.ts';
import { IpvsProxy } from '../../netplugins/proxies/ipvs/ipvs-proxy.ts';
import { residentBytesOf } from '../bed/processes.ts';
import { ascending, quantile } from '../method/statistics.ts';

const { values } = parseArgs({
  options: {
    services: { type: 'string', default: '0,1000,10000' },
    rounds: { type: 'string', default: '6' },
    samples: { type: 'string', default: '20' },
    families: { type: 'string', default: 'ip' },
    backend: { type: 'string', default: 'auto' },
    json: { type: 'string' },
  },
});
const sizes = values.services.split(',').map(Number);
const [rounds, samples] = [Number(values.rounds), Number(values.samples)];
const families = values.families.split(',') as readonly ('ip' | 'ip6')[];
for (const value of [...sizes, rounds, samples])
  if (!Number.isSafeInteger(value) || value < 0) throw new TypeError('sizes, rounds and samples are whole numbers');

/** What has gone through netlink since it was last set to nothing. */
const count = { datagrams: 0, bytes: 0, answers: 0, answerBytes: 0, kernelMs: 0 };
type Count = typeof count;
const nothing: Count = { ...count };
{
  const calls = libc() as { -readonly [Name in keyof Libc]: Libc[Name] };
  const { send, recv } = calls;
  calls.send = (fd, data, length, flags) => {
    const began = performance.now();
    const sent = send(fd, data, length, flags);
    count.kernelMs += performance.now() - began;
    count.datagrams += 1;
    count.bytes += length;
    return sent;
  };
  calls.recv = (fd, data, length, flags) => {
    const received = recv(fd, data, length, flags);
    if (received > 0) {
      count.answers += 1;
      count.answerBytes += received;
    }
    return received;
  };
}

interface Sample extends Count {
  readonly ms: number;
  readonly cpuMs: number;
}
type Figures = Readonly<Record<'add' | 'remove', Sample[]>>;
const measured = new Map<number, Figures>(sizes.map((size) => [size, { add: [], remove: [] }]));
const idle = new Map<number, (Count & { cpuMs: number })[]>(sizes.map((size) => [size, []]));
const idleSeconds = 3;
const moves: { from: number; to: number; ms: number; cpuMs: number }[] = [];

const byte = (index: number): string => `${(index >> 8) & 255}.${index & 255}`;
const portOf = (index: number): ProxyPort => ({
  ...{ namespace: 'scale', service: `service-${index}`, name: '', protocol: 'TCP', port: 80 },
  clusterIps: [`10.96.${byte(index)}`, `fd96::${(index + 1).toString(16)}`],
  ...{ externalIps: [], loadBalancerIps: [], loadBalancerSourceRanges: [], nodePort: undefined },
  ...{ affinitySeconds: undefined, internalPolicy: 'Cluster', externalPolicy: 'Cluster' },
  endpoints: [1, 2].flatMap((which) =>
    [`10.${243 + which}.${byte(index)}`, `fd44::${which}:${(index + 1).toString(16)}`].map((address) => ({
      ...{ address, port: 8080, local: false, ready: true, serving: true, terminating: false },
    })),
  ),
});
const all = Array.from({ length: Math.max(...sizes) + 1 }, (_, index) => portOf(index));
const extra = all.pop()!;

const quiet: Logger = {
  ...{ debug: () => undefined, info: () => undefined },
  ...{ warn: (message) => console.error(message), error: (message) => console.error(message) },
};
const folder = mkdtempSync(join(tmpdir(), 'pintle-ipvs-scale-'));
const netns = withScratchNetns((path) => openSync(path, 'r'));
const proxy = new IpvsProxy({
  families,
  backend: values.backend as IptablesBackend | 'auto',
  ...{ device: 'kube-ipvs0', scheduler: 'rr', affinityScheduler: 'mh', markBit: 12 },
  ...{ stateDir: folder, log: quiet, clock: { now: () => Date.now() }, netns: `/proc/self/fd/${netns}` },
});

async function sync(ports: readonly ProxyPort[]): Promise<Sample> {
  const state = {
    ...{ nodeAddresses: ['192.0.2.1'], clusterCidrs: ['10.244.0.0/15', 'fd44::/64'] },
    ...{ serviceCidrs: ['10.96.0.0/12', 'fd96::/108'], ports },
  };
  Object.assign(count, nothing);
  const [cpu, began] = [process.cpuUsage(), performance.now()];
  const { changed } = await proxy.sync(state);
  const ms = performance.now() - began;
  const { user, system } = process.cpuUsage(cpu);
  if (changed === 0) throw new Error('a sync that had something to do changed nothing');
  return { ...count, ms, cpuMs: (user + system) / 1000 };
}

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** The new one comes in the middle: the whole list is compared. */
async function measureAt(size: number): Promise<void> {
  const without = all.slice(0, size);
  const figures = measured.get(size)!;
  // What a move of thousands left is collected by then.
  await sleep(idleSeconds * 1_000);
  Object.assign(count, nothing);
  const cpu = process.cpuUsage();
  await sleep(idleSeconds * 1_000);
  const { user, system } = process.cpuUsage(cpu);
  idle.get(size)!.push({ ...count, cpuMs: (user + system) / 1_000 });
  for (let index = -5; index < samples; index += 1) {
    const add = await sync([...without.slice(0, size / 2), extra, ...without.slice(size / 2)]);
    const remove = await sync([...without]);
    if (index < 0) continue;
    figures.add.push(add);
    figures.remove.push(remove);
  }
}

let residentMb = 0;
try {
  let size = 0;
  // The rules come with the first sync.
  for (const ports of [[extra], []]) await sync(ports);
  for (let round = 0; round < rounds; round += 1) {
    // Up and down in turns: 0, 1,000, 10,000, 10,000, 1,000, 0.
    for (const next of round % 2 === 0 ? sizes : [...sizes].reverse()) {
      if (next !== size) {
        const { ms, cpuMs } = await sync(all.slice(0, next));
        moves.push({ from: size, to: next, ms, cpuMs });
      }
      size = next;
      await measureAt(size);
    }
    residentMb = Math.max(residentMb, Math.round(residentBytesOf(process.pid) / 2 ** 20));
    process.stderr.write(`round ${round + 1} of ${rounds}, load ${(loadavg()[0] ?? 0).toFixed(1)}\n`);
  }
} finally {
  await proxy.purge();
  await proxy[Symbol.asyncDispose]();
  closeSync(netns);
  rmSync(folder, { recursive: true, force: true });
}

const figure = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toFixed(3));
const spread = (list: readonly number[]): string =>
  [0.25, 0.5, 0.75].map((q) => figure(quantile(ascending(list), q))).join(' / ');
console.log(`Linux ${release()}, ${cpus().length} x ${cpus()[0]?.model ?? '?'}, Node ${process.version}`);
console.log(
  `${samples * rounds} samples each in ${rounds} rounds; p25 / p50 / p75; the process had ${residentMb} MB\n`,
);
// Kernels that count CPU time in ticks of 10 ms have it right in the mean alone.
const mean = (list: readonly number[]): number => list.reduce((sum, one) => sum + one, 0) / list.length;
const columns = ['ms', 'kernelMs', 'datagrams', 'bytes', 'answers', 'answerBytes'] as const;
for (const verb of ['add', 'remove'] as const)
  for (const [size, figures] of measured) {
    console.log(`one ${verb === 'add' ? 'more' : 'less'} at ${size}`);
    console.log(`  mean CPU ms  ${figure(mean(figures[verb].map(({ cpuMs }) => cpuMs)))}`);
    for (const column of columns)
      console.log(`  ${column.padEnd(12)} ${spread(figures[verb].map((one) => one[column]))}`);
  }
for (const [size, list] of idle) {
  const perSecond = (name: 'cpuMs' | keyof Count): string => figure(mean(list.map((one) => one[name] / idleSeconds)));
  console.log(
    `idle at ${size}, a second: CPU ${perSecond('cpuMs')} ms, in send(2) ${perSecond('kernelMs')} ms, ${perSecond('datagrams')} datagrams`,
  );
}
for (const { from, to, ms, cpuMs } of moves)
  console.log(`from ${from} to ${to}: ${figure(ms)} ms, CPU ${figure(cpuMs)} ms`);
if (values.json !== undefined)
  writeFileSync(values.json, JSON.stringify({ measured: Object.fromEntries(measured), moves, residentMb }));
