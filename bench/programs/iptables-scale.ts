/**
 * What one Service more costs in proxy `iptables` beside many others, and a start with many: in time, in CPU of the proxy's
 * process, and in CPU of the commands that it runs (a partial restore for each family).
 *
 *     node out/bench/programs/iptables-scale.js [--services 1000,5000] [--backend nft,legacy] [--rounds 20]
 *
 * Everything is in a network namespace that vanishes; two endpoints a Service, IPv4 and IPv6 tables, IPv4 Services.
 */
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Logger, ProxyPort } from '../../kernel/contract/index.ts';
import type { IptablesBackend } from '../../netplugins/linux/iptables.ts';
import { withScratchNetns } from '../../netplugins/linux/namespaces.ts';
import { IptablesProxy } from '../../netplugins/proxies/iptables/iptables-proxy.ts';
import { ascending, quantile } from '../method/statistics.ts';
import { endpoint, port, serviceAddress, stateOf } from '../suites/proxy/services.ts';

const { values } = parseArgs({
  options: {
    services: { type: 'string', default: '1000,5000' },
    backend: { type: 'string', default: 'nft,legacy' },
    rounds: { type: 'string', default: '20' },
  },
});
const rounds = Number(values.rounds);
const say = (message: string): void => console.error(message);
const log = { debug: () => {}, info: () => {}, warn: say, error: say, child: () => log } as unknown as Logger;

const portOf = (index: number): ProxyPort =>
  port(
    `service-${index}`,
    serviceAddress(index),
    [1, 2].map((which) => endpoint({ address: `10.${243 + which}.${index >> 8}.${index & 255}`, port: 8080 })),
  );

/** Of the commands that have ended. */
function commandCpuMs(): number {
  const fields = readFileSync('/proc/self/stat', 'latin1').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[13]) + Number(fields[14])) * 10;
}

interface Sample {
  readonly ms: number;
  readonly ownMs: number;
  readonly commandsMs: number;
}

async function measure(backend: IptablesBackend, count: number): Promise<void> {
  const netns = withScratchNetns((path) => openSync(path, 'r'));
  const folder = mkdtempSync(join(tmpdir(), 'pintle-iptables-scale-'));
  const proxy = new IptablesProxy({
    ...{ families: ['ip', 'ip6'], backend, markBit: 14, lockFile: join(folder, 'lock'), log },
    ...{ clock: { now: () => Date.now() }, netns: `/proc/self/fd/${netns}` },
  });
  const others = Array.from({ length: count }, (_, index) => portOf(index));
  const one = portOf(60_000);
  const sync = async (ports: readonly ProxyPort[]): Promise<Sample> => {
    const [began, cpu, commands] = [performance.now(), process.cpuUsage(), commandCpuMs()];
    await proxy.sync(stateOf(ports));
    const { user, system } = process.cpuUsage(cpu);
    return { ms: performance.now() - began, ownMs: (user + system) / 1_000, commandsMs: commandCpuMs() - commands };
  };
  try {
    const cold = await sync(others);
    const [more, less]: [Sample[], Sample[]] = [[], []];
    for (let round = 0; round < rounds; round += 1) {
      more.push(await sync([...others.slice(0, count / 2), one, ...others.slice(count / 2)]));
      less.push(await sync([...others]));
    }
    const mean = (list: readonly number[]): number => list.reduce((sum, each) => sum + each, 0) / list.length;
    const text = (list: readonly Sample[]): string =>
      `p50 ${quantile(ascending(list.map(({ ms }) => ms)), 0.5).toFixed(0)} ms, CPU of the process ${mean(list.map(({ ownMs }) => ownMs)).toFixed(0)} ms, ` +
      `of the commands ${mean(list.map(({ commandsMs }) => commandsMs)).toFixed(0)} ms`;
    console.log(`${backend}, ${count} Services (load ${(loadavg()[0] ?? 0).toFixed(1)})`);
    console.log(`  first sync: ${text([cold])}`);
    console.log(`  one more: ${text(more)}`);
    console.log(`  one less: ${text(less)}`);
  } finally {
    await proxy[Symbol.asyncDispose]();
    closeSync(netns);
    rmSync(folder, { recursive: true, force: true });
  }
}

for (const backend of values.backend.split(','))
  for (const count of values.services.split(',')) await measure(backend as IptablesBackend, Number(count));
