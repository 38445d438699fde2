/**
 * Service proxy by IPVS, the kernel's layer-4 balancer. Owns the virtual services of Services, a dummy link with their
 * addresses, the sets pintle-vs-*, the iptables chains PINTLEVS-*, three settings of IPVS, and the UDP connection-tracking
 * entries of flows to service addresses whose endpoint is gone. Repairs them when somebody else changes them.
 */
import { join } from 'node:path';
import {
  isPintleError,
  PintleError,
  type Clock,
  type Logger,
  type Proxy,
  type ProxyState,
  type ProxyStatus,
  type ServiceVerdict,
} from '../../../kernel/contract/index.ts';
import { HeldSettings, bootId } from '../../linux/held-settings.ts';
import { chooseBackend, type BackendChoice, type IptablesBackend } from '../../linux/iptables.ts';
import { watchChains } from '../../linux/iptables-watch.ts';
import { canonicalIp } from '../../linux/ip-address.ts';
import { keyText, type IpvsKey, type IpvsTimeouts } from '../../linux/ipvs-codec.ts';
import { openIpSets, type IpSets } from '../../linux/ipset.ts';
import { openIpvs, type Ipvs } from '../../linux/ipvs.ts';
import { OwnedChains } from '../../linux/owned-chains.ts';
import type { IpFamily } from '../../linux/service-addresses.ts';
import { decide, type ServiceFlow } from '../../linux/service-decision.ts';
import { FamilyState } from './family-state.ts';
import { prefix } from './rules.ts';
import { ServiceLink } from './service-link.ts';
import { areHeld, holdSettings } from './settings.ts';

export interface IpvsProxyOptions {
  readonly families: readonly IpFamily[];
  readonly backend: IptablesBackend | 'auto';
  readonly device: string;
  readonly scheduler: string;
  readonly affinityScheduler: string;
  /** Bit of a connection's mark that asks for masquerade. */
  readonly markBit: number;
  readonly timeouts?: IpvsTimeouts | undefined;
  readonly stateDir: string;
  readonly log: Logger;
  readonly clock: Pick<Clock, 'now'>;
  readonly netns?: string | undefined;
}

const settleMs = 50;
const retryMs = 1_000;
/** IPVS and ipset send no notifications. */
const checkMs = 1_000;
const rememberedPorts = 64;
/** What a network namespace begins with. */
const kernelTimeouts: IpvsTimeouts = { tcpSeconds: 900, tcpFinSeconds: 120, udpSeconds: 300 };
const ownTables = ['mangle', 'filter', 'nat'] as const;

interface Open {
  readonly choice: BackendChoice;
  readonly ipvs: Ipvs;
  readonly sets: IpSets;
  readonly link: ServiceLink;
  readonly families: readonly FamilyState[];
  readonly chains: readonly OwnedChains[];
}

export class IpvsProxy implements Proxy, AsyncDisposable {
  readonly #options: IpvsProxyOptions;
  readonly #held: HeldSettings;
  readonly #ownPorts = new Set<number>();
  #desired: ProxyState | undefined;
  #open: Open | undefined;
  #isWatching = false;
  #stops: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;
  #turn: Promise<void> = Promise.resolve();
  #lastSyncMs: number | undefined;
  #trouble: string | undefined = 'not synced yet';
  #repairs = 0;
  #closed = false;

  constructor(options: IpvsProxyOptions) {
    this.#options = options;
    this.#held = new HeldSettings(join(options.stateDir, 'settings.json'), bootId(), options);
  }

  sync(desired: ProxyState): Promise<{ readonly changed: number }> {
    return this.#inTurn(async () => {
      if (this.#closed) throw new PintleError('UNAVAILABLE', 'Proxy ipvs is disposed: expected no sync any more');
      try {
        const open = await this.#begin();
        this.#watch(open);
        let changed = 0;
        for (const family of open.families) changed += await family.sync(desired);
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

  /** When ready, the reason says which iptables back end is used and why. */
  status(): ProxyStatus {
    const choice = this.#open?.choice;
    const note = choice === undefined ? undefined : `iptables back end ${choice.backend} (${choice.why})`;
    return {
      ready: this.#trouble === undefined,
      reason: this.#trouble ?? note,
      lastSyncMs: this.#lastSyncMs,
      repairs: this.#repairs,
    };
  }

  async explain(flow: ServiceFlow, from: 'pod' | 'node' | 'outside'): Promise<ServiceVerdict | undefined> {
    const decision = this.#desired && decide(this.#desired, flow, from);
    if (decision === undefined || this.#open === undefined) return undefined;
    const { of, ...verdict } = decision;
    const { ipvs } = this.#open;
    const protocol = flow.protocol.toLowerCase() as 'tcp' | 'udp' | 'sctp';
    const key: IpvsKey = { protocol, address: canonicalIp(flow.destination), port: flow.port };
    const service = ipvs.getService(key);
    if (service === undefined) {
      // Policies that ask who comes have services of their own by mark; their addresses have none.
      const isPlain = verdict.via === 'cluster address' && of.internalPolicy === 'Cluster';
      const isMissing = isPlain && verdict.verdict === 'translated';
      return { ...verdict, objects: isMissing ? [{ shown: `ipvs ${keyText(key)}`, isPresent: false }] : [] };
    }
    const known = ipvs.listDestinations(key);
    return {
      ...verdict,
      objects: [
        { shown: `ipvs ${keyText(key)} ${service.scheduler}`, isPresent: true },
        ...decision.endpoints.map(({ address, port }) => ({
          shown: `ipvs ${keyText(key)} -> ${address} ${port}`,
          isPresent: known.some((each) => each.address === address && each.port === port && each.weight > 0),
        })),
      ],
    };
  }

  purge(): Promise<void> {
    return this.#inTurn(async () => {
      this.#unwatch();
      this.#trouble = 'purged';
      const open = await this.#begin();
      for (const family of open.families) await family.remove();
      open.link.remove();
      if (this.#options.timeouts !== undefined) open.ipvs.setTimeouts(kernelTimeouts);
      this.#held.restore();
      this.#close();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#unwatch();
    await this.#turn.catch(() => undefined);
    this.#close();
  }

  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const run = this.#turn.then(act);
    this.#turn = run.then(
      () => undefined,
      () => undefined,
    );
    return run;
  }

  async #begin(): Promise<Open> {
    if (this.#open !== undefined) return this.#open;
    const { families, backend, netns, stateDir, device, log, timeouts, clock } = this.#options;
    const lockFile = join(stateDir, 'xtables.lock');
    const choice = await chooseBackend(families, prefix, backend, { netns, lockFile });
    log.info('Service proxy uses IPVS, and one iptables back end', { backend: choice.backend, why: choice.why });
    const chainsOf = (family: IpFamily, of: IptablesBackend): OwnedChains =>
      new OwnedChains(prefix, {
        ...{ family, backend: of, netns, lockFile, tables: ownTables },
        onPort: (port) => this.#remember(port),
      });
    // Rules of ours in the back end that is not used any more.
    if (choice.other !== undefined) for (const family of families) await chainsOf(family, choice.other).remove();
    const ipvs = openIpvs({ netns });
    const sets = openIpSets({ netns });
    const link = new ServiceLink(device, { netns });
    const chains = families.map((family) => chainsOf(family, choice.backend));
    const states = chains.map(
      (each) =>
        new FamilyState(
          { ...this.#options, family: each.family, now: () => clock.now() },
          { ipvs, sets, link, chains: each },
        ),
    );
    holdSettings(this.#held);
    if (timeouts !== undefined) ipvs.setTimeouts(timeouts);
    this.#open = { choice, ipvs, sets, link, families: states, chains };
    return this.#open;
  }

  #remember(port: number): void {
    this.#ownPorts.add(port);
    for (const oldest of this.#ownPorts) {
      if (this.#ownPorts.size <= rememberedPorts) break;
      this.#ownPorts.delete(oldest);
    }
  }

  #close(): void {
    this.#open?.ipvs.close();
    this.#open?.sets.close();
    this.#open?.link.close();
    this.#open = undefined;
  }

  #watch({ choice, link, families, chains }: Open): void {
    if (this.#isWatching) return;
    this.#isWatching = true;
    const damaged = (): void => {
      for (const family of families) family.markDamaged();
      this.#scheduleRepair(settleMs);
    };
    const checks = setInterval(() => this.#look(families), checkMs);
    checks.unref();
    this.#stops = [
      () => clearInterval(checks),
      link.watch((address) => families.some((family) => family.wantsAddress(address)), damaged),
      watchChains(prefix, {
        backend: choice.backend,
        netns: this.#options.netns,
        chains,
        isOwn: (port) => this.#ownPorts.has(port),
        onDamage: () => this.#scheduleRepair(settleMs),
      }),
    ];
  }

  #unwatch(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const stop of this.#stops) stop();
    this.#stops = [];
    this.#isWatching = false;
  }

  #scheduleRepair(delayMs: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.#inTurn(() => this.#repair());
    }, delayMs);
  }

  /** Never while something changes: it takes its turn. */
  #look(families: readonly FamilyState[]): void {
    void this.#inTurn(async () => {
      if (!this.#isWatching) return;
      try {
        for (const family of families) {
          family.check();
          family.drain();
        }
        if (!areHeld(this.#options)) for (const family of families) family.markDamaged();
      } catch {
        for (const family of families) family.markDamaged();
      }
      if (families.some((family) => !family.isSound)) this.#scheduleRepair(0);
    });
  }

  async #repair(): Promise<void> {
    if (this.#closed || !this.#isWatching || this.#open === undefined || this.#lastSyncMs === undefined) return;
    try {
      for (const each of this.#open.chains) await each.check();
      holdSettings(this.#held);
      for (const family of this.#open.families) {
        if (family.isSound) continue;
        await family.apply();
        this.#repairs += 1;
        this.#options.log.warn('What the service proxy has in the kernel had been changed by somebody else: repaired', {
          family: family.family,
        });
      }
      this.#trouble = undefined;
    } catch (error) {
      const trouble = isPintleError(error) ? error.message : String(error);
      if (trouble !== this.#trouble)
        this.#options.log.error('Service proxy could not be repaired; trying again', { error: trouble });
      this.#trouble = trouble;
      this.#scheduleRepair(retryMs);
    }
  }
}
