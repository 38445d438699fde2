/**
 * What was asked of the executables and what they answered, one file an attachment, in the form of libcni's cache
 * (`cniCacheV1`) with some more keys. Owns its folder. A record is in its file before the first executable runs, and
 * leaves it after the last one has undone its work: so DEL can always be called with what ADD was called with.
 */
import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Bandwidth, HostPort } from '../../../kernel/contract/index.ts';
import type { NetworkList } from './network-list.ts';
import type { CniResult } from './result.ts';

export interface AttachmentRecord {
  readonly sandboxId: string;
  readonly containerId: string;
  readonly netns: string;
  readonly ifName: string;
  readonly bootId: string;
  readonly list: NetworkList;
  readonly isBuiltIn: boolean;
  readonly args: string;
  readonly capabilityArgs: Readonly<Record<string, unknown>>;
  readonly hostPorts: readonly HostPort[];
  readonly bandwidth?: Bandwidth | undefined;
  /** Undefined until ADD has succeeded. */
  readonly result?: CniResult | undefined;
}

interface Cached {
  readonly kind: 'cniCacheV1';
  readonly containerId: string;
  /** The list's JSON in base64. */
  readonly config: string;
  readonly ifName: string;
  readonly networkName: string;
  readonly netns: string;
  readonly cniArgs: readonly (readonly [string, string])[];
  readonly capabilityArgs: Readonly<Record<string, unknown>>;
  readonly result?: CniResult | undefined;
  readonly pintle: Pick<AttachmentRecord, 'sandboxId' | 'bootId' | 'isBuiltIn' | 'hostPorts' | 'bandwidth'>;
}

export class Records {
  readonly #folder: string;
  readonly #records = new Map<string, AttachmentRecord>();

  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true });
    for (const name of readdirSync(folder)) {
      const path = join(folder, name);
      const record = name.endsWith('.new') ? undefined : read(path);
      // What a crash left half-written was never acted upon.
      if (record === undefined) rmSync(path, { force: true });
      else this.#records.set(record.sandboxId, record);
    }
  }

  get(sandboxId: string): AttachmentRecord | undefined {
    return this.#records.get(sandboxId);
  }

  list(): readonly AttachmentRecord[] {
    return [...this.#records.values()];
  }

  put(record: AttachmentRecord): void {
    const { containerId, ifName, netns, capabilityArgs, result, sandboxId, bootId, isBuiltIn, hostPorts, bandwidth } =
      record;
    const cached: Cached = {
      kind: 'cniCacheV1',
      containerId,
      config: Buffer.from(JSON.stringify(record.list)).toString('base64'),
      ifName,
      networkName: record.list.name,
      netns,
      cniArgs: record.args.split(';').map((pair) => {
        const [name = '', value = ''] = pair.split('=');
        return [name, value];
      }),
      capabilityArgs,
      ...(result === undefined ? {} : { result }),
      pintle: { sandboxId, bootId, isBuiltIn, hostPorts, bandwidth },
    };
    const path = this.#pathOf(record);
    writeFileSync(`${path}.new`, JSON.stringify(cached), { mode: 0o600 });
    renameSync(`${path}.new`, path);
    this.#records.set(sandboxId, record);
  }

  remove(record: AttachmentRecord): void {
    rmSync(this.#pathOf(record), { force: true });
    this.#records.delete(record.sandboxId);
  }

  /** Forgets everything and removes the folder. */
  purge(): void {
    this.#records.clear();
    rmSync(this.#folder, { recursive: true, force: true });
    mkdirSync(this.#folder, { recursive: true });
  }

  #pathOf({ list, containerId, ifName }: AttachmentRecord): string {
    return join(this.#folder, `${list.name}-${containerId}-${ifName}`);
  }
}

function read(path: string): AttachmentRecord | undefined {
  try {
    const cached = JSON.parse(readFileSync(path, 'utf8')) as Cached;
    const { containerId, ifName, netns, capabilityArgs, result, pintle } = cached;
    const list = JSON.parse(Buffer.from(cached.config, 'base64').toString('utf8')) as NetworkList;
    if (typeof pintle.sandboxId !== 'string' || !Array.isArray(list.plugins)) return undefined;
    const args = cached.cniArgs.map((pair) => pair.join('=')).join(';');
    return { ...pintle, containerId, ifName, netns, capabilityArgs, args, list, result };
  } catch {
    return undefined;
  }
}
