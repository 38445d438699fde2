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

export class PortFragments<Fragment extends object> {
  #ports: readonly ProxyPort[] = [];
  #fragments: readonly Fragment[] = [];
  #basis: string | undefined;

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
    const most = isSameBasis ? Math.min(before.length, ports.length) : 0;
    let head = 0;
    while (head < most && before[head] === ports[head]) head += 1;
    let tail = 0;
    while (tail < most - head && before[before.length - 1 - tail] === ports[ports.length - 1 - tail]) tail += 1;
    const oldPorts = before.slice(head, before.length - tail);
    const newPorts = ports.slice(head, ports.length - tail);
    const old = this.#fragments.slice(head, before.length - tail);
    const known = new Map<ProxyPort, Fragment>();
    if (isSameBasis) for (const [index, fragment] of old.entries()) known.set(oldPorts[index]!, fragment);
    const now = newPorts.map((port) => known.get(port) ?? render(port));
    if (newPorts.length > 0 || oldPorts.length > 0) {
      this.#fragments = [...this.#fragments.slice(0, head), ...now, ...this.#fragments.slice(before.length - tail)];
      this.#ports = [...ports];
    }
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
