/**
 * Service proxy by nftables. Owns the tables `ip pintle-proxy` and `ip6 pintle-proxy`, and the UDP connection-tracking
 * entries of flows to service addresses whose endpoint is gone. Listens to nftables notifications, and rebuilds when
 * somebody else changes its tables.
 */
import {
  isPintleError,
  PintleError,
  type Clock,
  type Logger,
  type Proxy,
  type ProxyPort,
  type ProxyState,
  type ProxyStatus,
  type ServiceVerdict,
} from '../../../kernel/contract/index.ts';
import { monitorNft } from '../../linux/nft-monitor.ts';
import { canonicalIp } from '../../linux/ip-address.ts';
import { decide, flowFamily, type ServiceFlow } from '../../linux/service-decision.ts';
import { contextOf, portId, type Context } from '../../linux/service-addresses.ts';
import { affectedTargets, deleteStaleFlows, udpTargetsOf, type UdpTargets } from '../../linux/udp-flows.ts';
import { compose, type Fragment, type Picture } from './picture.ts';
import { ProxyTable } from './proxy-table.ts';
import {
  renderCommon,
  renderMasqueradeChains,
  renderPort,
  stableOrder,
  type NftFamily,
  type Ordering,
} from './render-port.ts';
import { tableName } from './render-table.ts';

export interface NftablesOptions {
  readonly families: readonly NftFamily[];
  readonly log: Logger;
  readonly clock: Pick<Clock, 'now'>;
  readonly netns?: string | undefined;
}

const settleMs = 50;
const retryMs = 1_000;
const rememberedPorts = 64;
/** Notifications of our own writes have arrived by then. */
const ownEchoMs = 1_000;

interface FamilyState {
  readonly table: ProxyTable;
  picture: Picture | undefined;
  udpTargets: UdpTargets | undefined;
  /** Rendered ports by the very object that was given: an unchanged port costs one look-up. */
  rendered: WeakMap<ProxyPort, Fragment>;
  /** What the rendering of every port depends on. */
  contextKey: string;
  /** Endpoint order by port and list, so that endpoints keep their numbers. */
  readonly orders: Map<string, Map<string, readonly string[]>>;
}

export class NftablesProxy implements Proxy, AsyncDisposable {
  readonly #options: NftablesOptions;
  readonly #families: readonly FamilyState[];
  readonly #ownPorts = new Set<number>();
  #desired: ProxyState | undefined;
  #stop: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #turn: Promise<void> = Promise.resolve();
  #lastSyncMs: number | undefined;
  #trouble: string | undefined = 'not synced yet';
  #repairs = 0;
  /** End of the last write of our own, or Infinity during one. */
  #writtenMs = 0;
  #overflowed = false;
  #closed = false;

  constructor(options: NftablesOptions) {
    this.#options = options;
    const nft = {
      netns: options.netns,
      onPort: (port: number): void => {
        this.#ownPorts.add(port);
        for (const oldest of this.#ownPorts) {
          if (this.#ownPorts.size <= rememberedPorts) break;
          this.#ownPorts.delete(oldest);
        }
      },
    };
    this.#families = options.families.map((family) => ({
      table: new ProxyTable(family, nft),
      picture: undefined,
      udpTargets: undefined,
      rendered: new WeakMap(),
      contextKey: '',
      orders: new Map(),
    }));
  }

  sync(desired: ProxyState): Promise<{ readonly changed: number }> {
    return this.#inTurn(async () => {
      if (this.#closed) throw new PintleError('UNAVAILABLE', 'Proxy nftables is disposed: expected no sync any more');
      this.#watch();
      try {
        let changed = 0;
        for (const state of this.#families) changed += await this.#syncFamily(state, desired);
        this.#desired = desired;
        this.#trouble = undefined;
        this.#lastSyncMs = this.#options.clock.now();
        return { changed };
      } catch (error) {
        this.#trouble = isPintleError(error) ? error.message : String(error);
        throw error;
      }
    });
  }

  status(): ProxyStatus {
    return {
      ready: this.#trouble === undefined,
      reason: this.#trouble,
      lastSyncMs: this.#lastSyncMs,
      repairs: this.#repairs,
    };
  }

  async explain(flow: ServiceFlow, from: 'pod' | 'node' | 'outside'): Promise<ServiceVerdict | undefined> {
    const state = this.#families.find(({ table }) => table.family === flowFamily(flow));
    const decision = this.#desired && decide(this.#desired, flow, from);
    if (state === undefined || decision === undefined) return undefined;
    const { of, ...verdict } = decision;
    const fragment = state.rendered.get(of);
    const key = `${canonicalIp(flow.destination)} . ${flow.protocol.toLowerCase()} . ${flow.port}`;
    const elements = (fragment?.elements ?? []).filter((each) => each.key === key);
    return { ...verdict, objects: await state.table.look(elements, fragment?.chains ?? []) };
  }

  purge(): Promise<void> {
    return this.#inTurn(async () => {
      this.#unwatch();
      this.#trouble = 'purged';
      for (const state of this.#families) {
        await this.#write(() => state.table.remove());
        state.picture = undefined;
        // Flows that were translated would go on, translated, for minutes.
        deleteStaleFlows(affectedTargets(state.udpTargets ?? new Map(), new Map()), state.table.family, this.#options);
        state.udpTargets = undefined;
      }
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#unwatch();
    await this.#turn.catch(() => undefined);
  }

  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const run = this.#turn.then(act);
    this.#turn = run.then(
      () => undefined,
      () => undefined,
    );
    return run;
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
    const context = contextOf(desired, state.table.family);
    const picture = this.#draw(state, desired.ports, context);
    const changed = await this.#write(() => state.table.apply(picture));
    state.picture = picture;
    const targets = udpTargetsOf(desired.ports, context);
    deleteStaleFlows(affectedTargets(state.udpTargets, targets), state.table.family, this.#options);
    state.udpTargets = targets;
    return changed;
  }

  #draw(state: FamilyState, ports: readonly ProxyPort[], context: Context): Picture {
    const contextKey = JSON.stringify(context);
    if (contextKey !== state.contextKey) {
      state.contextKey = contextKey;
      state.rendered = new WeakMap();
    }
    const seen = new Set<string>();
    const fragments = ports.map((port) => {
      const id = portId(port);
      seen.add(id);
      const known = state.rendered.get(port);
      if (known !== undefined) return known;
      const fragment = renderPort(port, context, this.#ordering(state, id));
      state.rendered.set(port, fragment);
      return fragment;
    });
    for (const id of state.orders.keys()) if (!seen.has(id)) state.orders.delete(id);
    return compose([renderCommon(context), renderMasqueradeChains(context), ...fragments]);
  }

  #ordering(state: FamilyState, id: string): Ordering {
    return (list, endpoints) => {
      let lists = state.orders.get(id);
      if (lists === undefined) state.orders.set(id, (lists = new Map()));
      const order = stableOrder(lists.get(list) ?? [], endpoints);
      lists.set(list, order);
      return order;
    };
  }

  #watch(): void {
    this.#stop ??= monitorNft((change) => {
      if (change === 'overflow') {
        this.#overflowed = true;
        return this.#scheduleRepair(settleMs);
      }
      if (change.table !== tableName || this.#ownPorts.has(change.port)) return;
      const state = this.#families.find(({ table }) => table.family === change.family);
      if (state === undefined) return;
      state.table.markDamaged();
      this.#scheduleRepair(settleMs);
    }, this.#options);
  }

  #unwatch(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#stop?.();
    this.#stop = undefined;
  }

  #scheduleRepair(delayMs: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.#inTurn(() => this.#repair());
    }, delayMs);
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

  async #repair(): Promise<void> {
    if (this.#closed || this.#stop === undefined) return;
    try {
      if (this.#overflowed) await this.#checkAfterOverflow();
      for (const { table, picture } of this.#families) {
        if (table.isSound || picture === undefined) continue;
        await this.#write(() => table.apply(picture));
        this.#repairs += 1;
        this.#options.log.warn('Table of the service proxy had been changed by somebody else: built anew', {
          family: table.family,
        });
      }
      if (this.#lastSyncMs !== undefined) this.#trouble = undefined;
    } catch (error) {
      const trouble = isPintleError(error) ? error.message : String(error);
      if (trouble !== this.#trouble)
        this.#options.log.error('Service proxy could not be repaired; trying again', { error: trouble });
      this.#trouble = trouble;
      this.#scheduleRepair(retryMs);
    }
  }
}
