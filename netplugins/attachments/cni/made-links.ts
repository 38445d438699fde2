/** Links that plugins made for all pods, such as a bridge: DEL leaves them. Owns the file with their names. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { Rtnetlink } from '../../linux/rtnetlink.ts';

export class MadeLinks {
  readonly #file: string;
  readonly #host: Rtnetlink;

  constructor(file: string, host: Rtnetlink) {
    this.#file = file;
    this.#host = host;
  }

  /** `names`: links that were not there before an ADD. A pod's own goes with the pod. */
  remember(names: readonly string[]): void {
    const shared = names.filter((name) => ![undefined, 'veth', 'ifb'].includes(this.#host.getLink(name)?.kind));
    if (shared.length > 0) writeFileSync(this.#file, JSON.stringify([...new Set([...this.#names(), ...shared])]));
  }

  remove(): void {
    for (const name of this.#names()) this.#host.deleteLink(name);
    rmSync(this.#file, { force: true });
  }

  #names(): readonly string[] {
    try {
      return JSON.parse(readFileSync(this.#file, 'utf8')) as string[];
    } catch {
      return [];
    }
  }
}
