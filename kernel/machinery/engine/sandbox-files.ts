/** The files of each sandbox that its containers see in /etc. */
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { SandboxSpec } from '../../contract/index.ts';

export interface SandboxPaths {
  readonly hosts: string;
  readonly resolvConf: string;
}

export class SandboxFiles {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  of(id: string): SandboxPaths {
    return { hosts: join(this.#folder, id, 'hosts'), resolvConf: join(this.#folder, id, 'resolv.conf') };
  }

  write(spec: SandboxSpec): void {
    mkdirSync(join(this.#folder, spec.id), { recursive: true });
    const { hosts, resolvConf } = this.of(spec.id);
    writeFileSync(hosts, spec.etcHosts);
    writeFileSync(resolvConf, spec.resolvConf);
  }

  remove(id: string): void {
    rmSync(join(this.#folder, id), { recursive: true, force: true });
  }

  /** Removes those of sandboxes that were never made. */
  keep(ids: ReadonlySet<string>): void {
    mkdirSync(this.#folder, { recursive: true });
    for (const id of readdirSync(this.#folder)) if (!ids.has(id)) this.remove(id);
  }
}
