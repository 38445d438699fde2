/**
 * Service proxy by iptables. Owns the chains PINTLE-* of the tables nat and filter, the rules that lead into them, and the
 * UDP connection-tracking entries of flows to service addresses whose endpoint is gone.
 * Repairs its chains when somebody else changes them.
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
import { chooseBackend, type BackendChoice, type IptablesBackend } from '../../linux/iptables.ts';
import type { Picture } from '../../linux/iptables-picture.ts';
import { watchChains } from '../../linux/iptables-watch.ts';
import { OwnedChains } from '../../linux/owned-chains.ts';
import { canonicalIp } from '../../linux/ip-address.ts';
import { decide, flowFamily, type ServiceFlow } from '../../linux/service-decision.ts';
import { contextOf, type IpFamily } from '../../linux/service-addresses.ts';
import { affectedTargets, deleteStaleFlows, udpTargetsOf, type UdpTargets } from '../../linux/udp-flows.ts';
import { compose, prefix, renderPort, type Fragment } from './render.ts';

export interface IptablesProxyOptions {
  readonly families: readonly IpFamily[];
  readonly backend: IptablesBackend | 'auto';
  /** Bit of the packet mark that asks for masquerade. */
  readonly markBit: number;
  readonly lockFile?: string | undefined;
  readonly log: Logger;
  readonly clock: Pick<Clock, 'now'>;
  readonly netns?: string | undefined;
}

const settleMs = 50;
const retryMs = 1_000;
const rememberedPorts = 64;

interface FamilyState {
  readonly family: IpFamily;
  readonly chains: OwnedChains;
  picture: Picture | undefined;
  /** What `picture` was made of. */
  drawn: readonly Fragment[];
  udpTargets: UdpTargets | undefined;
  /** Rendered ports by the very object that was given: an unchanged port costs one look-up. */
  rendered: WeakMap<ProxyPort, Fragment>;
  contextKey: string;
}

export class IptablesProxy implements Proxy, AsyncDisposable {
  readonly #options: IptablesProxyOptions;
  readonly #ownPorts = new Set<number>();
  #choice: BackendChoice | undefined;
  #families: readonly FamilyState[] = [];
  #desired: ProxyState | undefined;
  #stop: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #turn: Promise<void> = Promise.resolve();
  #lastSyncMs: number | undefined;
  #trouble: string | undefined = 'not synced yet';
  #repairs = 0;
  #closed = false;

  constructor(options: IptablesProxyOptions) {
    this.#options = options;
  }

  sync(desired: ProxyState): Promise<{ readonly changed: number }> {
    return this.#inTurn(async () => {
      if (this.#closed) throw new PintleError('UNAVAILABLE', 'Proxy iptables is disposed: expected no sync any more');
      try {
        const { backend, other } = await this.#begin();
        this.#watch(backend);
        let changed = 0;
        for (const state of this.#families) changed += await this.#syncFamily(state, desired);
        if (other !== undefined) await this.#leave(other);
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

  /** When ready, the reason says which back end is used and why. */
  status(): ProxyStatus {
    const choice = this.#choice;
    const note = choice === undefined ? undefined : `iptables back end ${choice.backend} (${choice.why})`;
    return {
      ready: this.#trouble === undefined,
      reason: this.#trouble ?? note,
      lastSyncMs: this.#lastSyncMs,
      repairs: this.#repairs,
    };
  }

  async explain(flow: ServiceFlow, from: 'pod' | 'node' | 'outside'): Promise<ServiceVerdict | undefined> {
    const state = this.#families.find(({ family }) => family === flowFamily(flow));
    const decision = this.#desired && decide(this.#desired, flow, from);
    if (state === undefined || decision === undefined) return undefined;
    const { of, ...verdict } = decision;
    const { chains, rules } = state.rendered.get(of) ?? { chains: new Map<string, string>(), rules: [] };
    const meets = rules.filter(
      ({ key }) => key.includes(`-d ${canonicalIp(flow.destination)}/`) && key.endsWith(` --dport ${flow.port}`),
    );
    const wanted = [
      ...meets.map(({ list, rule }) => `-A ${list} ${rule}`),
      ...[...chains].flatMap(([name, text]) => text.split('\n').map((rule) => `-A ${name} ${rule}`)),
    ];
    const found = new Set((await state.chains.text()).split('\n'));
    return { ...verdict, objects: wanted.map((shown) => ({ shown, isPresent: found.has(shown) })) };
  }

  purge(): Promise<void> {
    return this.#inTurn(async () => {
      this.#unwatch();
      this.#trouble = 'purged';
      const { other } = await this.#begin();
      for (const state of this.#families) {
        await state.chains.remove();
        state.picture = undefined;
        // Flows that were translated would go on, translated, for minutes.
        deleteStaleFlows(affectedTargets(state.udpTargets ?? new Map(), new Map()), state.family, this.#options);
        state.udpTargets = undefined;
      }
      if (other !== undefined) await this.#leave(other);
      this.#choice = undefined;
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

  async #begin(): Promise<BackendChoice> {
    if (this.#choice !== undefined) return this.#choice;
    const { families, backend, netns, lockFile, log } = this.#options;
    const choice = await chooseBackend(families, prefix, backend, { netns, lockFile });
    log.info('Service proxy uses one iptables back end', { backend: choice.backend, why: choice.why });
    this.#choice = choice;
    this.#families = families.map((family) => ({
      family,
      chains: this.#chainsOf(family, choice.backend),
      picture: undefined,
      drawn: [],
      udpTargets: undefined,
      rendered: new WeakMap(),
      contextKey: '',
    }));
    return choice;
  }

  #chainsOf(family: IpFamily, backend: IptablesBackend): OwnedChains {
    const { netns, lockFile } = this.#options;
    const onPort = (port: number): void => {
      this.#ownPorts.add(port);
      for (const oldest of this.#ownPorts) {
        if (this.#ownPorts.size <= rememberedPorts) break;
        this.#ownPorts.delete(oldest);
      }
    };
    return new OwnedChains(prefix, { family, backend, netns, lockFile, onPort });
  }

  /** Takes our rules out of the back end that is not used any more. */
  async #leave(other: IptablesBackend): Promise<void> {
    for (const family of this.#options.families) await this.#chainsOf(family, other).remove();
    if (this.#choice !== undefined) this.#choice = { ...this.#choice, other: undefined };
  }

  async #syncFamily(state: FamilyState, desired: ProxyState): Promise<number> {
    const context = contextOf(desired, state.family);
    const contextKey = JSON.stringify(context);
    if (contextKey !== state.contextKey) {
      state.contextKey = contextKey;
      state.rendered = new WeakMap();
      state.drawn = [];
    }
    const fragments = desired.ports.map((port) => {
      const known = state.rendered.get(port);
      if (known !== undefined) return known;
      const fragment = renderPort(port, context);
      state.rendered.set(port, fragment);
      return fragment;
    });
    const isSame =
      fragments.length === state.drawn.length && fragments.every((each, index) => each === state.drawn[index]);
    const known = isSame ? state.picture : undefined;
    const picture = known ?? compose(fragments, context, this.#options.markBit);
    state.drawn = fragments;
    const changed = await state.chains.apply(picture);
    state.picture = picture;
    const targets = udpTargetsOf(desired.ports, context);
    deleteStaleFlows(affectedTargets(state.udpTargets, targets), state.family, this.#options);
    state.udpTargets = targets;
    return changed;
  }

  #watch(backend: IptablesBackend): void {
    this.#stop ??= watchChains(prefix, {
      backend,
      netns: this.#options.netns,
      chains: this.#families.map(({ chains }) => chains),
      isOwn: (port) => this.#ownPorts.has(port),
      onDamage: () => this.#scheduleRepair(settleMs),
    });
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

  async #repair(): Promise<void> {
    if (this.#closed || this.#stop === undefined) return;
    try {
      for (const state of this.#families) {
        const { chains, picture, family } = state;
        await chains.check();
        if (chains.isSound || picture === undefined) continue;
        await chains.apply(picture);
        this.#repairs += 1;
        this.#options.log.warn('Chains of the service proxy had been changed by somebody else: built anew', { family });
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
