/**
 * Kernel settings that a plugin changes for as long as it works on a node. Owns one file with their former values, written
 * before the first change, so that a purge can put them back, also by another process than the one that changed them.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { readSysctl, writeSysctl, type SysctlOptions } from './sysctl.ts';

interface Held {
  readonly was: string;
  readonly held: string;
}

interface HeldRecord {
  readonly bootId: string;
  readonly settings: Readonly<Record<string, Held>>;
}

export class HeldSettings {
  readonly #file: string;
  readonly #bootId: string;
  readonly #options: SysctlOptions;

  constructor(file: string, bootId: string, options: SysctlOptions = {}) {
    this.#file = file;
    this.#bootId = bootId;
    this.#options = options;
  }

  /** Sets `name` to `value`; true when it was something else, which is remembered. */
  hold(name: string, value: string | number): boolean {
    const was = readSysctl(name, this.#options);
    const held = String(value);
    if (was === held) return false;
    if (was !== undefined) this.#write({ ...this.#read(), [name]: { was, held } });
    writeSysctl(name, value, this.#options);
    return true;
  }

  /** Puts back what still has the value that was held: what somebody else has set meanwhile is theirs. */
  restore(): void {
    for (const [name, { was, held }] of Object.entries(this.#read()))
      if (readSysctl(name, this.#options) === held) writeSysctl(name, was, this.#options);
    rmSync(this.#file, { force: true });
  }

  /** A reboot has put everything back already. */
  #read(): HeldRecord['settings'] {
    try {
      const record = JSON.parse(readFileSync(this.#file, 'utf8')) as HeldRecord;
      return record.bootId === this.#bootId ? record.settings : {};
    } catch {
      return {};
    }
  }

  #write(settings: HeldRecord['settings']): void {
    mkdirSync(dirname(this.#file), { recursive: true });
    const record: HeldRecord = { bootId: this.#bootId, settings };
    writeFileSync(`${this.#file}.new`, JSON.stringify(record), { mode: 0o600 });
    renameSync(`${this.#file}.new`, this.#file);
  }
}

export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}
