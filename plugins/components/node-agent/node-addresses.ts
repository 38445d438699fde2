/** Which addresses this node is known by: those of its config, or the host's own, followed as they change. */
import { networkInterfaces } from 'node:os';

/** Global addresses of interfaces that are up, in the kernel's order. */
function hostAddresses(): readonly string[] {
  const all = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  const usable = all.filter((each) => !each.internal && !each.address.startsWith('fe80'));
  const isFirst = (one: (typeof usable)[number]): boolean => one.family === 'IPv4';
  return [...usable.filter(isFirst), ...usable.filter((one) => !isFirst(one))].map(({ address }) => address);
}

export class NodeAddresses {
  readonly #isConfigured: boolean;
  readonly #list: () => readonly string[];
  #current: readonly string[];

  constructor(configured: readonly string[], list: () => readonly string[] = hostAddresses) {
    this.#isConfigured = configured.length > 0;
    this.#list = list;
    this.#current = this.#isConfigured ? configured : list().slice(0, 1);
  }

  /** Empty: the host has none but loopback. */
  get current(): readonly string[] {
    return this.#current;
  }

  /**
   * Looks again; true when they are others now. An address is kept as long as the host has it, and until it has another: an
   * interface that goes down for a moment moves nothing.
   */
  refresh(): boolean {
    if (this.#isConfigured) return false;
    const there = this.#list();
    const [first] = there;
    if (first === undefined || this.#current.some((address) => there.includes(address))) return false;
    this.#current = [first];
    return true;
  }
}
