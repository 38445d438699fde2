/**
 * Service proxy by IPVS, the kernel's layer-4 balancer. Owns the virtual services of Services, a dummy link and the local
 * routes to their addresses, the sets pintle-vs-*, the iptables chains PINTLEVS-*, three settings of IPVS, and the UDP
 * connection-tracking entries of flows to service addresses whose endpoint is gone. Repairs them when somebody else changes
 * them.
 */
import { join } from 'node:path';
import type { Clock, Logger, ProxyState, ServiceVerdict } from '../../../kernel/contract/index.ts';
import { HeldSettings, bootId } from '../../linux/held-settings.ts';
import { chooseBackend, type BackendChoice, type IptablesBackend } from '../../linux/iptables.ts';
import { watchChains } from '../../linux/iptables-watch.ts';
import { canonicalIp } from '../../linux/ip-address.ts';
import { keyText, type IpvsKey, type IpvsTimeouts } from '../../linux/ipvs-codec.ts';
import { openIpSets, type IpSets } from '../../linux/ipset.ts';
import { openIpvs, type Ipvs } from '../../linux/ipvs.ts';
import { OwnedChains } from '../../linux/owned-chains.ts';
import { OwnPorts } from '../../linux/own-ports.ts';
import { RepairingProxy } from '../../linux/repairing-proxy.ts';
import type { IpFamily } from '../../linux/service-addresses.ts';
import { flowFamily, type Decision, type ServiceFlow } from '../../linux/service-decision.ts';
import { FamilyState } from './family-state.ts';
import { prefix, unknownRule } from './rules.ts';
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

/** IPVS and ipset send no notifications. */
const checkMs = 1_000;
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

export class IpvsProxy extends RepairingProxy {
  readonly #options: IpvsProxyOptions;
  readonly #held: HeldSettings;
  readonly #ownPorts = new OwnPorts();
  #open: Open | undefined;

  constructor(options: IpvsProxyOptions) {
    super({ ...options, name: 'ipvs' });
    this.#options = options;
    this.#held = new HeldSettings(join(options.stateDir, 'settings.json'), bootId(), options);
  }

  protected override async bring(desired: ProxyState): Promise<number> {
    const open = await this.#begin();
    this.watch(() => this.#monitor(open));
    let changed = 0;
    for (const family of open.families) changed += await family.sync(desired);
    return changed;
  }

  /** Which iptables back end is used, and why. */
  protected override note(): string | undefined {
    const choice = this.#open?.choice;
    return choice === undefined ? undefined : `iptables back end ${choice.backend} (${choice.why})`;
  }

  protected override async objectsOf(
    decision: Decision,
    flow: ServiceFlow,
  ): Promise<ServiceVerdict['objects'] | undefined> {
    if (this.#open === undefined) return undefined;
    const { ipvs, chains } = this.#open;
    if (decision.of === undefined) {
      const own = chains.find(({ family }) => family === flowFamily(flow));
      if (own === undefined) return undefined;
      const shown = `-A ${unknownRule(decision, own.family)}`;
      return [{ shown, isPresent: (await own.text()).split('\n').includes(shown) }];
    }
    const { of, verdict, via, endpoints } = decision;
    const protocol = flow.protocol.toLowerCase() as 'tcp' | 'udp' | 'sctp';
    const key: IpvsKey = { protocol, address: canonicalIp(flow.destination), port: flow.port };
    const service = ipvs.getService(key);
    if (service === undefined) {
      // Policies that ask who comes have services of their own by mark; their addresses have none.
      const isPlain = via === 'cluster address' && of.internalPolicy === 'Cluster';
      const isMissing = isPlain && verdict === 'translated';
      return isMissing ? [{ shown: `ipvs ${keyText(key)}`, isPresent: false }] : [];
    }
    const known = ipvs.listDestinations(key);
    return [
      { shown: `ipvs ${keyText(key)} ${service.scheduler}`, isPresent: true },
      ...endpoints.map(({ address, port }) => ({
        shown: `ipvs ${keyText(key)} -> ${address} ${port}`,
        isPresent: known.some((each) => each.address === address && each.port === port && each.weight > 0),
      })),
    ];
  }

  protected override async remove(): Promise<void> {
    const open = await this.#begin();
    for (const family of open.families) await family.remove();
    open.link.remove();
    if (this.#options.timeouts !== undefined) open.ipvs.setTimeouts(kernelTimeouts);
    this.#held.restore();
    this.release();
  }

  protected override release(): void {
    this.#open?.ipvs.close();
    this.#open?.sets.close();
    this.#open?.link.close();
    this.#open = undefined;
  }

  protected override async mend(): Promise<void> {
    if (this.#open === undefined) return;
    for (const each of this.#open.chains) await each.check();
    holdSettings(this.#held);
    for (const family of this.#open.families) {
      if (family.isSound || !family.hasSynced) continue;
      await family.apply();
      this.mended(family.family);
    }
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
        onPort: (port) => this.#ownPorts.add(port),
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
          { ...this.#options, family: each.family, now: () => clock.now(), comparison: this.comparison },
          { ipvs, sets, link, chains: each },
        ),
    );
    holdSettings(this.#held);
    if (timeouts !== undefined) ipvs.setTimeouts(timeouts);
    this.#open = { choice, ipvs, sets, link, families: states, chains };
    return this.#open;
  }

  #monitor({ choice, link, families, chains }: Open): () => void {
    const damaged = (): void => {
      for (const family of families) family.markDamaged();
      this.damaged();
    };
    const checks = setInterval(() => this.#look(families), checkMs);
    checks.unref();
    const stops = [
      () => clearInterval(checks),
      link.watch((address) => families.some((family) => family.wantsAddress(address)), damaged),
      watchChains(prefix, {
        backend: choice.backend,
        netns: this.#options.netns,
        chains,
        isOwn: (port) => this.#ownPorts.has(port),
        onDamage: () => this.damaged(),
      }),
    ];
    return () => {
      for (const stop of stops) stop();
    };
  }

  /** Never while something changes: it takes its turn. */
  #look(families: readonly FamilyState[]): void {
    void this.inTurn(async () => {
      if (!this.isWatching) return;
      try {
        for (const family of families) {
          family.check();
          family.drain();
        }
        if (!areHeld(this.#options)) for (const family of families) family.markDamaged();
      } catch {
        for (const family of families) family.markDamaged();
      }
      if (families.some((family) => !family.isSound)) this.damaged(0);
    });
  }
}
