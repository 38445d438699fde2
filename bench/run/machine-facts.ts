/** What the figures depend on beside the code: written into every result. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem, version } from 'node:os';
import { hostEnvironment } from '../bed/place.ts';
import { fileSystemOf, runFolders } from '../bed/run-folders.ts';
import type { Fact } from '../method/result.ts';

function text(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}

export function machineFacts(): Record<string, Fact> {
  const governor = text('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor');
  const os = /^PRETTY_NAME="?([^"\n]*)/m.exec(text('/etc/os-release'))?.[1] ?? '';
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    os,
    kernel: release(),
    kernelBuild: version(),
    virtual: /\bhypervisor\b/.test(text('/proc/cpuinfo')),
    ...(governor === '' ? {} : { governor }),
    tcpCongestionControl: text('/proc/sys/net/ipv4/tcp_congestion_control'),
    underlayMtuBytes: 1500,
    underlayOffloads: 'those of veth: TSO, GSO, GRO, transmit checksums',
    ...fileSystems(),
    root: process.geteuid?.() === 0,
  };
}

/** Of what stands on a disk in a real cluster, stores alone are on one here. */
function fileSystems(): Record<string, Fact> {
  const [agents = '/', stores = agents] = runFolders();
  return { fileSystemOfAgents: fileSystemOf(agents), fileSystemOfStores: fileSystemOf(stores) };
}

const asks: readonly (readonly [name: string, command: string, ...argv: string[]])[] = [
  ['iperf3', 'iperf3', '--version'],
  ['sockperf', 'sockperf', '--version'],
  ['ping', 'ping', '-V'],
  ['nft', 'nft', '--version'],
  ['iptables', 'iptables', '--version'],
  ['etcd', 'etcd', '--version'],
];

/** Of the tools that are installed, and of ourselves. */
export function versions(pintle: string): Record<string, string> {
  const found = asks.flatMap(([name, command, ...argv]) => {
    const { status, stdout, stderr } = spawnSync(command, argv, {
      encoding: 'utf8',
      env: hostEnvironment(),
      timeout: 5_000,
    });
    const words = `${stdout}${stderr}`;
    const number = /\d+\.\d+[\w.+-]*/.exec(words)?.[0];
    return status === null || number === undefined ? [] : [[name, number] as const];
  });
  return { pintle, node: process.version, ...Object.fromEntries(found) };
}

export const load = (): number[] => loadavg().map((value) => Math.round(value * 100) / 100);
