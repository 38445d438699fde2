/**
 * What each port of a list was rendered to, and which fragments came and went with the next list. Ports are known by the
 * very object that was given, so an unchanged one costs a comparison. Pure.
 */
import type { ProxyPort } from '../../kernel/contract/index.ts';

export interface PortFragment<Fragment> {
  readonly port: ProxyPort;
  readonly fragment: Fragment;
}

export interface FragmentChange<Fragment> {
  readonly came: readonly PortFragment<Fragment>[];
  readonly gone: readonly PortFragment<Fragment>[];
}

/** How much of two lists of ports is the same: at the beginning, and of the rest at the end. */
export interface CommonEnds {
  readonly head: number;
  readonly tail: number;
}

/** Compares lists of many thousand ports once, however many ask about the same two. */
export class PortComparison {
  #before: readonly ProxyPort[] = [];
  #after: readonly ProxyPort[] = [];
  #ends: CommonEnds = { head: 0, tail: 0 };

  of(before: readonly ProxyPort[], after: readonly ProxyPort[]): CommonEnds {
    if (before === this.#before && after === this.#after) return this.#ends;
    const most = Math.min(before.length, after.length);
    let head = 0;
    // Unlike ===, this looks at no object that is the same, which after a pause is no longer in the processor's cache.
    while (head < most && Object.is(before[head], after[head])) head += 1;
    let tail = 0;
    while (tail < most - head && Object.is(before[before.length - 1 - tail], after[after.length - 1 - tail])) tail += 1;
    [this.#before, this.#after, this.#ends] = [before, after, { head, tail }];
    return this.#ends;
  }
}

/** Puts `replacement` in the place of `count` of `list` from `start` on. For a few the list is not copied. */
function replaced<T>(list: T[], start: number, count: number, replacement: readonly T[]): T[] {
  if (replacement.length > 1_000) return list.slice(0, start).concat(replacement, list.slice(start + count));
  list.splice(start, count, ...replacement);
  return list;
}

export class PortFragments<Fragment extends object> {
  readonly #comparison: PortComparison;
  /** The very list of the last time, which nobody changes. */
  #ports: readonly ProxyPort[] = [];
  #fragments: Fragment[] = [];
  #basis: string | undefined;

  constructor(comparison: PortComparison = new PortComparison()) {
    this.#comparison = comparison;
  }

  /** Until the next update. */
  get list(): readonly Fragment[] {
    return this.#fragments;
  }

  of(port: ProxyPort): Fragment | undefined {
    return this.#fragments[this.#ports.indexOf(port)];
  }

  /**
   * Looks only at what lies between the first and the last port that changed. `basis`: what the rendering of every port
   * depends on; when it differs, all are rendered anew.
   */
  update(ports: readonly ProxyPort[], basis: string, render: (port: ProxyPort) => Fragment): FragmentChange<Fragment> {
    const before = this.#ports;
    const isSameBasis = basis === this.#basis;
    const { head, tail } = isSameBasis ? this.#comparison.of(before, ports) : { head: 0, tail: 0 };
    const oldPorts = before.slice(head, before.length - tail);
    const newPorts = ports.slice(head, ports.length - tail);
    const old = this.#fragments.slice(head, before.length - tail);
    const known = new Map<ProxyPort, Fragment>();
    if (isSameBasis) for (const [index, fragment] of old.entries()) known.set(oldPorts[index]!, fragment);
    const now = newPorts.map((port) => known.get(port) ?? render(port));
    this.#fragments = replaced(this.#fragments, head, old.length, now);
    this.#ports = ports;
    this.#basis = basis;
    return { came: missing(now, old, newPorts), gone: missing(old, now, oldPorts) };
  }
}

/** Those of `fragments` that are not in `others`, with their ports. */
function missing<Fragment>(
  fragments: readonly Fragment[],
  others: readonly Fragment[],
  ports: readonly ProxyPort[],
): PortFragment<Fragment>[] {
  const there = new Set(others);
  return fragments.flatMap((fragment, index) => (there.has(fragment) ? [] : [{ port: ports[index]!, fragment }]));
}
