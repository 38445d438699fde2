/**
 * One address family of the proxy: what Services ask for, and the kernel objects that it becomes. Changes go in an order in
 * which every connection meets the old state or the new one: sets gain before IPVS changes, IPVS before addresses appear,
 * and they lose after it.
 */
import type { Logger, ProxyState } from '../../../kernel/contract/index.ts';
import { Claims } from '../../linux/claims.ts';
import { AF_INET, AF_INET6 } from '../../linux/ip-address.ts';
import type { Picture } from '../../linux/iptables-picture.ts';
import { keyText, type IpvsKey } from '../../linux/ipvs-codec.ts';
import type { IpSets } from '../../linux/ipset.ts';
import type { Ipvs } from '../../linux/ipvs.ts';
import type { OwnedChains } from '../../linux/owned-chains.ts';
import { PortFragments, type PortComparison } from '../../linux/port-fragments.ts';
import { contextOf, type Context, type IpFamily } from '../../linux/service-addresses.ts';
import { UdpFlows } from '../../linux/udp-flows.ts';
import { isOwnMark } from './marks.ts';
import { renderPort, type Fragment, type RenderOptions, type VirtualService } from './render-port.ts';
import { rulesPicture } from './rules.ts';
import type { ServiceLink } from './service-link.ts';
import { ServiceSets, type Mark, type SetDifference } from './service-sets.ts';
import { setNames, type SetName } from './sets.ts';
import { VirtualServices } from './virtual-services.ts';

export interface FamilyOptions extends RenderOptions {
  readonly family: IpFamily;
  readonly markBit: number;
  readonly netns?: string | undefined;
  readonly now: () => number;
  readonly log: Logger;
  readonly comparison: PortComparison;
}

export interface FamilyMeans {
  readonly ipvs: Ipvs;
  readonly sets: IpSets;
  readonly link: ServiceLink;
  readonly chains: OwnedChains;
}

export class FamilyState {
  readonly family: IpFamily;
  readonly #options: FamilyOptions;
  readonly #link: ServiceLink;
  readonly #chains: OwnedChains;
  readonly #sets: ServiceSets;
  readonly #services: VirtualServices;
  readonly #wantedServices = new Claims<VirtualService>();
  readonly #wantedEntries: Readonly<Record<SetName, Claims<Mark>>>;
  readonly #wantedAddresses = new Claims<true>();
  /** What keeps the address and the record of a service that only drains. */
  readonly #drainOwners = new Map<string, Fragment>();
  readonly #fragments: PortFragments<Fragment>;
  readonly #flows: UdpFlows;
  #context: Context | undefined;
  #picture: Picture | undefined;
  #isSound = false;

  constructor(options: FamilyOptions, { ipvs, sets, link, chains }: FamilyMeans) {
    this.family = options.family;
    this.#options = options;
    this.#link = link;
    this.#chains = chains;
    this.#fragments = new PortFragments(options.comparison);
    this.#flows = new UdpFlows(options.family, options);
    this.#sets = new ServiceSets(sets, options.family);
    this.#services = new VirtualServices(ipvs, options.family === 'ip' ? AF_INET : AF_INET6, {
      now: options.now,
      onRefused: (endpoint, service) =>
        options.log.warn('IPVS takes no broadcast and no multicast address: a Service goes without that endpoint', {
          endpoint,
          service,
        }),
    });
    this.#wantedEntries = Object.fromEntries(setNames.map((name) => [name, new Claims<Mark>()])) as Record<
      SetName,
      Claims<Mark>
    >;
  }

  get isSound(): boolean {
    return this.#isSound && this.#chains.isSound;
  }

  get hasSynced(): boolean {
    return this.#context !== undefined;
  }

  markDamaged(): void {
    this.#isSound = false;
  }

  wantsAddress(address: string): boolean {
    return this.#wantedAddresses.get(address) !== undefined;
  }

  async sync(desired: ProxyState): Promise<number> {
    const context = contextOf(desired, this.family);
    const before = this.#context ?? context;
    const basis = JSON.stringify(context);
    if (this.#context === undefined || JSON.stringify(before) !== basis)
      this.#picture = rulesPicture(context, this.#options.markBit);
    this.#context = context;
    const change = this.#fragments.update(desired.ports, basis, (port) => renderPort(port, context, this.#options));
    this.#flows.note(change, context, before);
    // New claims come before old ones go: what both need does not change.
    for (const { fragment } of change.came) this.#claim(fragment);
    for (const { fragment } of change.gone) this.#release(fragment);
    const changed = await this.apply();
    this.#flows.settle();
    return changed;
  }

  /** Brings the kernel to what is wanted. Returns how many changes that took. */
  async apply(): Promise<number> {
    return this.isSound ? this.#change() : this.#build();
  }

  /** A look at what sends no notifications. */
  check(): void {
    if (!this.#isSound) return;
    if (!this.#services.check() || !this.#sets.check((set) => this.#wantedEntries[set].size)) this.#isSound = false;
  }

  /** Lets go of services that were kept for their connections. */
  drain(): void {
    if (!this.#isSound || !this.#services.hasDraining) return;
    for (const key of this.#services.drain()) this.#releaseDrained(key);
    this.#change();
  }

  async remove(): Promise<void> {
    this.#isSound = false;
    const record = this.#record();
    this.#services.removeAll((key) => this.#isOwn(key, record));
    await this.#chains.remove();
    await this.#sets.destroy();
    this.#flows.forgetAll();
    for (const key of this.#drainOwners.keys()) this.#releaseDrained(key);
  }

  #claim(fragment: Fragment): void {
    for (const service of fragment.services) this.#wantedServices.add(fragment, keyText(service.key), service);
    for (const { set, element, mark } of fragment.entries)
      this.#wantedEntries[set].add(fragment, element, mark ?? null);
    for (const address of fragment.addresses) this.#wantedAddresses.add(fragment, address, true);
  }

  #release(fragment: Fragment): void {
    for (const { key } of fragment.services) this.#wantedServices.remove(fragment, keyText(key));
    for (const { set, element } of fragment.entries) this.#wantedEntries[set].remove(fragment, element);
    for (const address of fragment.addresses) this.#wantedAddresses.remove(fragment, address);
  }

  #releaseDrained(key: string): void {
    const owner = this.#drainOwners.get(key);
    if (owner !== undefined) this.#release(owner);
    this.#drainOwners.delete(key);
  }

  /** Keeps what the services that drain need: their address and their record. IPVS refuses new connections. */
  #keepDraining(): void {
    for (const key of this.#services.draining()) {
      const text = keyText(key);
      if ('mark' in key || this.#wantedServices.get(text) !== undefined || this.#drainOwners.has(text)) continue;
      const element = `${key.address},${key.protocol}:${key.port}`;
      const hasAddress = this.#link.has(this.family, key.address);
      const fragment: Fragment = {
        services: [],
        entries: [
          { set: 'served', element },
          ...(hasAddress ? [{ set: 'addresses', element: key.address } as const] : []),
        ],
        addresses: hasAddress ? [key.address] : [],
      };
      this.#claim(fragment);
      this.#drainOwners.set(text, fragment);
    }
  }

  /** From what the kernel has by us. */
  #change(): number {
    // Until all is in, the kernel does not have what was wanted.
    this.#isSound = false;
    const services = this.#wantedServices.takeChanges();
    for (const { key, after } of services) if (after !== undefined) this.#releaseDrained(key);
    const entries = this.#entryChanges();
    this.#sets.add(entries);
    let changed = this.#services.reconcile(services.map(({ key, after }) => [key, after] as const));
    this.#keepDraining();
    const kept = this.#entryChanges();
    this.#sets.add(kept);
    const addresses = this.#wantedAddresses.takeChanges();
    const added = addresses.filter(({ after }) => after === true).map(({ key }) => key);
    const deleted = addresses.filter(({ after }) => after === undefined).map(({ key }) => key);
    this.#link.change(this.family, added, []);
    this.#removeUnwanted(entries);
    this.#link.change(this.family, [], deleted);
    this.#isSound = true;
    changed += entries.length + kept.length;
    return changed + added.length + deleted.length;
  }

  /** A service that drains may want again what its port let go of. */
  #removeUnwanted(entries: readonly SetDifference[]): void {
    this.#sets.remove(entries.filter(({ set, element }) => this.#wantedEntries[set].get(element) === undefined));
  }

  #entryChanges(): SetDifference[] {
    return setNames.flatMap((set) =>
      this.#wantedEntries[set].takeChanges().map(({ key, after }) => ({ set, element: key, after })),
    );
  }

  /** From whatever the kernel has, by a predecessor or after damage. */
  async #build(): Promise<number> {
    this.#isSound = false;
    // What still drains is found again below.
    for (const key of this.#drainOwners.keys()) this.#releaseDrained(key);
    for (const claims of [this.#wantedServices, this.#wantedAddresses]) claims.skipChanges();
    for (const set of setNames) this.#wantedEntries[set].skipChanges();
    let changed = (this.#link.ensure() ? 1 : 0) + this.#sets.create();
    const record = this.#record();
    const found = this.#services.load((key) => this.#isOwn(key, record));
    const differences = this.#sets.difference((set) => this.#wantedEntries[set].entries());
    this.#sets.add(differences);
    if (this.#picture !== undefined) changed += await this.#chains.apply(this.#picture);
    const wanted = new Map<string, VirtualService | undefined>(found.map((key) => [key, undefined]));
    for (const [key, service] of this.#wantedServices.entries()) wanted.set(key, service);
    changed += this.#services.reconcile(wanted);
    this.#keepDraining();
    this.#sets.add(this.#entryChanges());
    this.#wantedAddresses.skipChanges();
    const present = this.#link.list(this.family);
    const missing = [...this.#wantedAddresses.keys()].filter((address) => !present.has(address));
    const extra = [...present].filter((address) => !this.wantsAddress(address));
    const strays = this.#link.strays(this.family);
    this.#link.change(this.family, missing, []);
    this.#removeUnwanted(differences);
    this.#link.change(this.family, [], extra);
    this.#link.removeStrays(strays);
    this.#isSound = true;
    return changed + differences.length + missing.length + extra.length + strays.length;
  }

  /** By what a predecessor's services are known: their record, and the link. */
  #record(): ReadonlySet<string> {
    return new Set([
      ...this.#sets.contents('served').keys(),
      ...this.#wantedEntries.served.keys(),
      ...this.#link.list(this.family),
      ...this.#link.strays(this.family).map(({ address }) => address),
    ]);
  }

  #isOwn(key: IpvsKey, record: ReadonlySet<string>): boolean {
    if ('mark' in key) return isOwnMark(key.mark);
    return record.has(key.address) || record.has(`${key.address},${key.protocol}:${key.port}`);
  }
}
