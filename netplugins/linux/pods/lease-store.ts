/**
 * The leases of a node's pod addresses, one file a sandbox. Owns the folder it is given.
 *
 * A record is in its file (written, renamed) before its addresses are used, and leaves the folder after they are no
 * longer: a crash can only leave a record too many, which `gc` finds. Nothing waits for the disk: a power loss may take
 * the newest records, and takes all pods of the node with it. Addresses are handed out round robin from
 * the last one, so that a freed address rests as long as possible (late packets and stale ARP entries of its last owner).
 */
import { closeSync, mkdirSync, openSync, readFileSync, readdirSync, renameSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { createHash } from 'node:crypto';
import { PintleError, type Bandwidth, type HostPort } from '../../../kernel/contract/index.ts';
import { addressAt, AF_INET, contains, offsetIn, parseCidr, rangeSize, type Cidr } from '../ip-address.ts';

export interface Lease {
  readonly sandboxId: string;
  /** One a family, primary first. */
  readonly ips: readonly string[];
  readonly gateways: readonly string[];
  readonly netns: string;
  /** /proc/sys/kernel/random/boot_id: after a reboot no sandbox of before exists. */
  readonly bootId: string;
  /** Ports of the node that lead to this sandbox; undefined: none. */
  readonly hostPorts?: readonly HostPort[] | undefined;
  readonly bandwidth?: Bandwidth | undefined;
}

/** First, gateway, and for IPv4 last address are not for pods. */
const firstOffset = 2n;
/** Nobody runs more pods on a node than this; a /64 need not be walked to its end. */
const largestPool = 1n << 20n;

export function gatewayOf(podCidr: string): string {
  return addressAt(parseCidr(podCidr), 1n);
}

export class LeaseStore {
  readonly #folder: string;
  readonly #bootId: string;
  readonly #leases = new Map<string, Lease>();
  readonly #taken = new Set<string>();
  /** The last address given out, by range. */
  readonly #last = new Map<string, string>();

  constructor(folder: string, bootId: string) {
    this.#folder = folder;
    this.#bootId = bootId;
    mkdirSync(folder, { recursive: true });
    for (const name of readdirSync(folder)) {
      const path = join(folder, name);
      if (name.endsWith('.lease')) this.#load(path);
      // What a crash left half-written was never in use.
      else if (name.endsWith('.new')) rmSync(path, { force: true });
    }
    for (const [range, address] of Object.entries(readJson<Record<string, string>>(join(folder, 'last.json')) ?? {}))
      this.#last.set(range, address);
  }

  #load(path: string): void {
    const lease = readJson<Lease>(path);
    if (lease === undefined || typeof lease.sandboxId !== 'string' || !Array.isArray(lease.ips)) {
      rmSync(path, { force: true });
      return;
    }
    this.#leases.set(lease.sandboxId, lease);
    for (const ip of lease.ips) this.#taken.add(ip);
  }

  get(sandboxId: string): Lease | undefined {
    return this.#leases.get(sandboxId);
  }

  list(): readonly Lease[] {
    return [...this.#leases.values()];
  }

  isOfThisBoot(lease: Lease): boolean {
    return lease.bootId === this.#bootId;
  }

  /** A lease of one free address of each range, in its file when this returns. Throws ADDRESSES_EXHAUSTED. */
  acquire(
    sandboxId: string,
    netns: string,
    podCidrs: readonly string[],
    more: Pick<Lease, 'hostPorts' | 'bandwidth'> = {},
  ): Lease {
    const ips = podCidrs.map((range) => this.#free(range));
    const gateways = podCidrs.map(gatewayOf);
    const lease: Lease = { sandboxId, ips, gateways, netns, bootId: this.#bootId, ...more };
    podCidrs.forEach((range, index) => this.#last.set(range, ips[index] ?? ''));
    writeWhole(join(this.#folder, 'last.json'), JSON.stringify(Object.fromEntries(this.#last)));
    writeWhole(this.#pathOf(sandboxId), JSON.stringify(lease));
    this.#leases.set(sandboxId, lease);
    for (const ip of ips) this.#taken.add(ip);
    return lease;
  }

  /** The same lease with other host ports, in its file when this returns. */
  setHostPorts(lease: Lease, hostPorts: readonly HostPort[]): Lease {
    const { hostPorts: _, ...rest } = lease;
    const next: Lease = { ...rest, ...(hostPorts.length > 0 ? { hostPorts } : {}) };
    writeWhole(this.#pathOf(lease.sandboxId), JSON.stringify(next));
    this.#leases.set(lease.sandboxId, next);
    return next;
  }

  release(sandboxId: string): void {
    const lease = this.#leases.get(sandboxId);
    if (lease === undefined) return;
    rmSync(this.#pathOf(sandboxId), { force: true });
    this.#leases.delete(sandboxId);
    for (const ip of lease.ips) this.#taken.delete(ip);
  }

  /** Forgets everything and removes the folder. */
  purge(): void {
    this.#leases.clear();
    this.#taken.clear();
    this.#last.clear();
    rmSync(this.#folder, { recursive: true, force: true });
    mkdirSync(this.#folder, { recursive: true });
  }

  #free(range: string): string {
    const cidr = parseCidr(range);
    const end = lastOffset(cidr);
    const count = end - firstOffset + 1n;
    const last = this.#last.get(range);
    const from = last !== undefined && contains(cidr, last) ? offsetIn(cidr, last) + 1n : firstOffset;
    for (let step = 0n; step < count; step += 1n) {
      const address = addressAt(cidr, firstOffset + ((from - firstOffset + step) % count));
      if (!this.#taken.has(address)) return address;
    }
    throw new PintleError(
      'ADDRESSES_EXHAUSTED',
      `Pod range ${range} has no free address: all ${count > 0n ? count : 0n} are in use; expected one for a new pod. ` +
        'Delete pods of this node, or give the nodes larger pod ranges',
      { details: { range } },
    );
  }

  #pathOf(sandboxId: string): string {
    // A sandbox id comes from a runtime: it may hold anything, so it is hashed when it is no plain name.
    const name = /^[A-Za-z0-9_.-]{1,128}$/.test(sandboxId)
      ? sandboxId
      : `sha256-${createHash('sha256').update(sandboxId).digest('hex')}`;
    return join(this.#folder, `${name}.lease`);
  }
}

function lastOffset(cidr: Cidr): bigint {
  const size = rangeSize(cidr);
  const usable = cidr.family === AF_INET ? size - 2n : size - 1n;
  return usable < largestPool ? usable : largestPool;
}

function readJson<T>(path: string): T | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as T;
  } catch {
    return undefined;
  }
}

/** A process that ends in the middle of it leaves the old content or the new. */
function writeWhole(path: string, text: string): void {
  const fresh = `${path}.new`;
  const fd = openSync(fresh, 'w', 0o600);
  try {
    writeSync(fd, text);
  } finally {
    closeSync(fd);
  }
  renameSync(fresh, path);
}
