/**
 * What a change of one Service costs in proxy `nftables` beside many others, and what a cold start with many costs those who
 * only pass through the node.
 *
 *     node out/bench/programs/nftables-scale.js [--rounds 100] [--services 0,1000,10000] [--affine 2000]
 *
 * Each bed is a process of its own with two nodes in network namespaces of its own; on the first is the proxy, IPv4 and IPv6,
 * two endpoints a Service. Times are of `sync` alone, from the wanted state to what the kernel has acknowledged. During the
 * first sync a pod of the node pings one of the other node 500 times a second.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { ProxyPort } from '../../kernel/contract/index.ts';
import { NftablesProxy } from '../../netplugins/proxies/nftables/nftables-proxy.ts';
import { cpuSecondsOf, residentBytesOf } from '../bed/processes.ts';
import { Wire } from '../bed/wire.ts';
import { ascending, quantile } from '../method/statistics.ts';
import { endpoint, port, serviceAddress, stateOf } from '../suites/proxy/services.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '100' },
    services: { type: 'string', default: '0,1000,10000' },
    affine: { type: 'string', default: '2000' },
    bed: { type: 'string' },
  },
});
const rounds = Number(values.rounds);

const endpoints = (count: number, from = 0) =>
  Array.from({ length: count }, (_, index) =>
    endpoint({ address: `10.244.${2 + ((from + index) >> 8)}.${(from + index) & 255}`, port: 8080 }),
  );

const beside = (count: number, affinitySeconds?: number): ProxyPort[] =>
  Array.from({ length: count }, (_, index) =>
    port(`service-${index}`, serviceAddress(index), endpoints(2, (index * 2) % 60_000), { affinitySeconds }),
  );

const one = (count: number, change: Partial<ProxyPort> = {}): ProxyPort =>
  port('one-more', '10.102.0.1', endpoints(count, 200), change);

/** What is added to the others, and what then becomes of it. */
const changes: readonly (readonly [string, ProxyPort, ProxyPort | undefined])[] = [
  ['one more', one(2), one(3)],
  ['one more, 40 endpoints', one(40), one(41)],
  ['one more, affinity', one(2, { affinitySeconds: 10_800 }), one(3, { affinitySeconds: 10_800 })],
  ['one more, affinity, 40 endpoints', one(40, { affinitySeconds: 10_800 }), one(39, { affinitySeconds: 10_800 })],
  ['one more, affinity by a time-out that no other has', one(2, { affinitySeconds: 77 }), undefined],
];

async function measureBed(count: number, affinitySeconds: number | undefined): Promise<void> {
  const wire = new Wire(2);
  wire.routeBetweenNodes();
  const client = wire.routedPod(0, 'client', 2).place;
  const target = wire.routedPod(1, 'target', 2).ips[0]!;
  const log = { debug: () => {}, info: () => {}, warn: () => {}, error: console.error, child: () => log } as never;
  const { netns } = wire.nodes[0]!;
  const proxy = new NftablesProxy({ families: ['ip', 'ip6'], log, clock: { now: () => Date.now() }, netns });
  const others = beside(count, affinitySeconds);
  const quiet = await longestRoundTrip(client, target, 3);
  const flow = longestRoundTrip(client, target, count > 1_000 ? 8 : 3);
  await new Promise((resolve) => setTimeout(resolve, 300));
  const [start, cpu] = [performance.now(), cpuSecondsOf(process.pid)];
  await proxy.sync(stateOf(others));
  const [cold, used] = [performance.now() - start, cpuSecondsOf(process.pid) - cpu];
  const name = `${count} others${affinitySeconds === undefined ? '' : ', all with affinity'}`;
  const memory = Math.round(residentBytesOf(process.pid) / 1e6);
  console.log(`${name}: first sync ${cold.toFixed(0)} ms, CPU ${used.toFixed(2)} s, process ${memory} MB`);
  console.log(`  longest round trip of a flow through the node: before ${quiet}, during the first sync ${await flow}`);
  for (const [what, added, changed] of changes) {
    const times = { added: [] as number[], changed: [] as number[], removed: [] as number[] };
    const sync = async (into: number[], ...ports: readonly ProxyPort[]): Promise<void> => {
      const wanted = stateOf([...others, ...ports]);
      const before = performance.now();
      await proxy.sync(wanted);
      into.push(performance.now() - before);
    };
    for (let round = 0; round < rounds; round += 1) {
      await sync(times.added, added);
      if (changed !== undefined) await sync(times.changed, changed);
      await sync(times.removed);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const figures = Object.entries(times).flatMap(([kind, list]) =>
      list.length === 0 ? [] : `${kind} ${figure(list)}`,
    );
    console.log(`  ${what}: ${figures.join('; ')}`);
  }
  await proxy.purge();
  await proxy[Symbol.asyncDispose]();
  await wire.close();
}

function figure(times: readonly number[]): string {
  const sorted = ascending(times);
  return [0.5, 0.99].map((q) => quantile(sorted, q).toFixed(2)).join(' / ');
}

async function longestRoundTrip(from: Wire['nodes'][number], host: string, seconds: number): Promise<string> {
  const output = await from.run('ping', ['-n', '-q', '-i', '0.002', '-w', String(seconds), host]);
  const [, lost = '?'] = /([\d.]+)% packet loss/.exec(output) ?? [];
  const [, longest = '?'] = /= [\d.]+\/[\d.]+\/([\d.]+)\//.exec(output) ?? [];
  return `${longest} ms (${lost} % lost)`;
}

if (values.bed !== undefined) {
  const [count = 0, seconds] = values.bed.split(':').map(Number);
  await measureBed(count, seconds);
} else {
  console.log(`p50 / p99 of ${rounds} syncs, in ms; added, then one endpoint more or less, then removed`);
  const beds = [...values.services.split(','), `${values.affine}:10800`];
  for (const bed of beds) {
    const argv = [fileURLToPath(import.meta.url), '--rounds', String(rounds), '--bed', bed];
    const isolate = ['unshare', '--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
    const { status } = spawnSync(isolate[0]!, [...isolate.slice(1), process.execPath, ...argv], { stdio: 'inherit' });
    if (status !== 0) process.exitCode = 1;
  }
}
