/**
 * Service proxy by nftables. Owns the tables `ip pintle-proxy` and `ip6 pintle-proxy`, and the UDP connection-tracking
 * entries of flows to service addresses whose endpoint is gone. Listens to nftables notifications, and rebuilds when
 * somebody else changes its tables.
 */
import type { Clock, Logger, ProxyPort, ProxyState, ServiceVerdict } from '../../../kernel/contract/index.ts';
import { monitorNft } from '../../linux/nft-monitor.ts';
import { canonicalIp } from '../../linux/ip-address.ts';
import { OwnPorts } from '../../linux/own-ports.ts';
import { PortFragments } from '../../linux/port-fragments.ts';
import { RepairingProxy } from '../../linux/repairing-proxy.ts';
import { flowFamily, type Decision, type ServiceFlow } from '../../linux/service-decision.ts';
import { contextOf, isOfFamily, portId, type Context } from '../../linux/service-addresses.ts';
import { UdpFlows } from '../../linux/udp-flows.ts';
import { ProxyTable } from './proxy-table.ts';
import {
  rejectNew,
  renderCommon,
  renderFamilyChains,
  renderPort,
  stableOrder,
  type NftFamily,
  type Ordering,
} from './render-port.ts';
import { tableName } from './render-table.ts';
import type { Element, Fragment } from './table-change.ts';
import { TableWishes } from './table-wishes.ts';

export interface NftablesOptions {
  readonly families: readonly NftFamily[];
  readonly log: Logger;
  readonly clock: Pick<Clock, 'now'>;
  readonly netns?: string | undefined;
}

/** Notifications of our own writes have arrived by then. */
const ownEchoMs = 1_000;

interface FamilyState {
  readonly table: ProxyTable;
  readonly wishes: TableWishes;
  readonly fragments: PortFragments<Fragment>;
  readonly flows: UdpFlows;
  /** What every table has, as the addresses of the node and of pods ask for it. */
  common: readonly Fragment[];
  context: Context | undefined;
  /** Endpoint order by port and list, so that endpoints keep their numbers. */
  readonly orders: Map<string, Map<string, readonly string[]>>;
}

export class NftablesProxy extends RepairingProxy {
  readonly #options: NftablesOptions;
  readonly #families: readonly FamilyState[];
  readonly #ownPorts = new OwnPorts();
  /** End of the last write of our own, or Infinity during one. */
  #writtenMs = 0;
  #overflowed = false;

  constructor(options: NftablesOptions) {
    super({ ...options, name: 'nftables' });
    this.#options = options;
    const nft = { netns: options.netns, onPort: (port: number): void => this.#ownPorts.add(port) };
    this.#families = options.families.map((family) => {
      const wishes = new TableWishes();
      return {
        table: new ProxyTable(family, wishes, nft),
        wishes,
        fragments: new PortFragments<Fragment>(this.comparison),
        flows: new UdpFlows(family, options),
        common: [],
        context: undefined,
        orders: new Map<string, Map<string, readonly string[]>>(),
      };
    });
  }

  protected override async bring(desired: ProxyState): Promise<number> {
    this.watch(() => this.#monitor());
    let changed = 0;
    for (const state of this.#families) changed += await this.#syncFamily(state, desired);
    return changed;
  }

  protected override async objectsOf(
    decision: Decision,
    flow: ServiceFlow,
  ): Promise<ServiceVerdict['objects'] | undefined> {
    const state = this.#families.find(({ table }) => table.family === flowFamily(flow));
    if (state === undefined) return undefined;
    if (decision.of === undefined) {
      const set = decision.via === 'service range' ? 'service-cidrs' : 'cluster-ips';
      return state.table.look([{ set, key: decision.subject, data: '' }], [rejectNew]);
    }
    const fragment = state.fragments.of(decision.of);
    const key = `${canonicalIp(flow.destination)} . ${flow.protocol.toLowerCase()} . ${flow.port}`;
    const isAbout = ({ set, key: of }: Element): boolean =>
      of === key || set === 'shape-chains' || (set !== 'allowed' && of.startsWith(`${key} . `));
    const elements = (fragment?.elements ?? []).filter(isAbout);
    return state.table.look(elements, fragment?.chains ?? []);
  }

  protected override async remove(): Promise<void> {
    for (const { table, flows } of this.#families) {
      await this.#write(() => table.remove());
      flows.forgetAll();
    }
  }

  protected override release(): void {
    for (const { table } of this.#families) table.close();
  }

  protected override async mend(): Promise<void> {
    if (this.#overflowed) await this.#checkAfterOverflow();
    for (const { table, context } of this.#families) {
      if (table.isSound || context === undefined) continue;
      await this.#write(() => table.apply());
      this.mended(table.family);
    }
  }

  async #write<T>(act: () => Promise<T>): Promise<T> {
    this.#writtenMs = Number.POSITIVE_INFINITY;
    try {
      return await act();
    } finally {
      this.#writtenMs = this.#options.clock.now();
    }
  }

  async #syncFamily(state: FamilyState, desired: ProxyState): Promise<number> {
    const { table, wishes, fragments, flows, orders } = state;
    const context = contextOf(desired, table.family);
    const before = state.context ?? context;
    const basis = JSON.stringify(context);
    const change = fragments.update(desired.ports, basis, (port) =>
      isServed(port, context) ? renderPort(port, context, ordering(orders, portId(port))) : nothing,
    );
    const common =
      state.context !== undefined && JSON.stringify(before) === basis
        ? state.common
        : [renderCommon(context), renderFamilyChains(context)];
    flows.note(change, context, before);
    // New claims come before old ones go: what both need does not change.
    if (common !== state.common) for (const fragment of common) wishes.claim(fragment);
    for (const { fragment } of change.came) wishes.claim(fragment);
    for (const { fragment } of change.gone) wishes.release(fragment);
    if (common !== state.common) for (const fragment of state.common) wishes.release(fragment);
    state.common = common;
    state.context = context;
    if (change.gone.length > 0) {
      const left = new Set(change.came.map(({ port }) => portId(port)));
      for (const { port } of change.gone) if (!left.has(portId(port))) orders.delete(portId(port));
    }
    const changed = await this.#write(() => table.apply());
    flows.settle();
    return changed;
  }

  #monitor(): () => void {
    return monitorNft((change) => {
      if (change === 'overflow') {
        this.#overflowed = true;
        return this.damaged();
      }
      if (change.table !== tableName || this.#ownPorts.has(change.port)) return;
      const state = this.#families.find(({ table }) => table.family === change.family);
      if (state === undefined) return;
      state.table.markDamaged();
      this.damaged();
    }, this.#options);
  }

  /**
   * Notifications were lost. After a large write of our own they were most likely ours, and a look at the table's objects is
   * enough; otherwise somebody else changed very much, perhaps our elements too, and the tables are built anew.
   */
  async #checkAfterOverflow(): Promise<void> {
    this.#overflowed = false;
    const wasOurs = this.#options.clock.now() - this.#writtenMs < ownEchoMs;
    for (const { table } of this.#families)
      if (table.isSound && !(wasOurs && (await table.looksWhole()))) table.markDamaged();
  }
}

const nothing: Fragment = { elements: [], chains: [] };

/** Whether the port has an address of this family. */
function isServed(port: ProxyPort, { family, nodeAddresses }: Context): boolean {
  if (port.nodePort !== undefined && nodeAddresses.length > 0) return true;
  const { clusterIps, externalIps, loadBalancerIps } = port;
  return [clusterIps, externalIps, loadBalancerIps].some((ips) => ips.some((ip) => isOfFamily(ip, family)));
}

/** Keeps in `orders` how the lists of endpoints of one port are ordered. */
function ordering(orders: Map<string, Map<string, readonly string[]>>, id: string): Ordering {
  return (list, endpoints) => {
    let lists = orders.get(id);
    if (lists === undefined) orders.set(id, (lists = new Map()));
    const order = stableOrder(lists.get(list) ?? [], endpoints);
    lists.set(list, order);
    return order;
  };
}
