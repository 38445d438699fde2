/**
 * What makes packets to Services packets to the node, which is where IPVS takes them: a local route for each service
 * address, to a dummy link. Owns the link, which says so in its alias, and what is on it; another's link of the same name is
 * left alone.
 *
 * Routes, not addresses: the kernel keeps a link's addresses in a list, which it walks for each that comes or goes, and
 * routes in a tree. Their metric lets the node's own address of the same number come first, and keeps the two apart.
 */
import { PintleError } from '../../../kernel/contract/index.ts';
import { isRefused } from '../../linux/libc.ts';
import {
  openRtnetlink,
  RT_SCOPE_HOST,
  RT_TABLE_LOCAL,
  RTN_LOCAL,
  type Address,
  type Link,
  type NewRoute,
  type Route,
  type RtChange,
  type Rtnetlink,
} from '../../linux/rtnetlink.ts';
import type { IpFamily } from '../../linux/service-addresses.ts';

const alias = 'pintle service addresses';

const familyNumber = { ip: 2, ip6: 10 } as const;
const hostBits = { ip: 32, ip6: 128 } as const;
/** What IPv6 gives a route that is made without one; the kernel's own for an address have 0. */
const metric = 1_024;
/**
 * The link's only address. With the last IPv4 address of a link go all IPv4 routes to it, without a word; so it always has
 * one, of the range that is the node's own anyway.
 */
const anchor = '127.0.0.96';
const isLinkLocal = (address: string): boolean => address.startsWith('fe80:');
const addressOf = ({ destination }: Pick<Route, 'destination'>): string => destination.split('/')[0] ?? '';
const isOwn = (route: Route): boolean =>
  route.type === RTN_LOCAL && route.table === RT_TABLE_LOCAL && route.metric === metric;

export class ServiceLink {
  readonly name: string;
  readonly #links: Rtnetlink;
  #index: number | undefined;
  /** Addresses with a route, as far as this process knows. */
  readonly #routed: Readonly<Record<IpFamily, Set<string>>> = { ip: new Set(), ip6: new Set() };

  constructor(name: string, options: { readonly netns?: string | undefined }) {
    this.name = name;
    this.#links = openRtnetlink(options);
  }

  /** Calls `onDamage` when the link goes, or goes down, or loses its anchor or the route of an address that `isWanted`. */
  watch(isWanted: (address: string) => boolean, onDamage: () => void): () => void {
    return this.#links.subscribe((event) => {
      if (event.kind === 'overflow') return onDamage();
      if (event.kind === 'link' && event.link.name === this.name && (event.deleted || !event.link.up)) onDamage();
      if (event.kind === 'address' && event.deleted)
        if (event.address.index === this.#index && event.address.address === anchor) onDamage();
      if (event.kind === 'route' && event.deleted && event.route.link === this.#index)
        if (isOwn(event.route) && isWanted(addressOf(event.route))) onDamage();
    });
  }

  /** Makes the link, or takes over a predecessor's. Returns whether it had to do something. */
  ensure(): boolean {
    let link = this.#links.getLink(this.name);
    if (link !== undefined && link.alias !== alias && !this.#isUnfinished(link))
      throw new PintleError(
        'KERNEL_REFUSED',
        `Link ${this.name} is there already, and not ours: expected none of that name; delete it (ip link delete ${this.name}) when what made it is gone, or choose another with "device"`,
        { details: { errno: 'EEXIST', extack: '' } },
      );
    const isNew = link === undefined;
    if (isNew) {
      this.#links.createDummy({ name: this.name });
      link = this.#links.getLink(this.name);
    }
    this.#index = link?.index;
    const isRight = link?.up === true && link.alias === alias;
    if (!isRight) this.#links.setLink(this.name, { alias, up: true });
    const isAnchored = !this.#links.addAddress(this.#index ?? 0, `${anchor}/32`, { scope: RT_SCOPE_HOST });
    return isNew || !isRight || !isAnchored;
  }

  /** The alias is set after the link is made: a predecessor may have been killed in between. */
  #isUnfinished({ index, kind, up, alias: name }: Link): boolean {
    return kind === 'dummy' && !up && name === undefined && this.#links.listAddresses({ index }).length === 0;
  }

  #own(): Link | undefined {
    const link = this.#links.getLink(this.name);
    return link?.alias === alias ? link : undefined;
  }

  /** Addresses of one family that have a route to the link; none when it is not there, or not ours. */
  list(family: IpFamily): ReadonlySet<string> {
    const link = this.#own();
    const filter = { family: familyNumber[family], table: RT_TABLE_LOCAL, link: link?.index ?? 0 };
    const routes = link === undefined ? [] : this.#links.listRoutes(filter).filter(isOwn);
    const found = this.#routed[family];
    found.clear();
    for (const route of routes) found.add(addressOf(route));
    return found;
  }

  has(family: IpFamily, address: string): boolean {
    return this.#routed[family].has(address);
  }

  /** Addresses that the link has besides: of a Pintle that gave each Service one, or put there by somebody. */
  strays(family: IpFamily): readonly Address[] {
    const link = this.#own();
    if (link === undefined) return [];
    return this.#links
      .listAddresses({ index: link.index, family: familyNumber[family] })
      .filter(({ address }) => address !== anchor && !isLinkLocal(address));
  }

  removeStrays(strays: readonly Address[]): void {
    for (const { index, address, prefixLength } of strays)
      this.#links.deleteAddress(index, `${address}/${prefixLength}`);
  }

  change(family: IpFamily, added: readonly string[], deleted: readonly string[]): void {
    if (added.length === 0 && deleted.length === 0) return;
    const route = (address: string): NewRoute => ({
      ...{ destination: `${address}/${hostBits[family]}`, link: this.#index },
      ...{ type: RTN_LOCAL, table: RT_TABLE_LOCAL, scope: RT_SCOPE_HOST, metric },
    });
    const errors = this.#links.apply([
      ...added.map((address): RtChange => ({ verb: 'replaceRoute', route: route(address) })),
      ...deleted.map((address): RtChange => ({ verb: 'deleteRoute', route: route(address) })),
    ]);
    for (const address of added) this.#routed[family].add(address);
    for (const address of deleted) this.#routed[family].delete(address);
    // What is to go may be gone.
    const failed = errors.find(
      (error, index) => error !== undefined && (index < added.length || !isRefused(error, 'ESRCH', 'ENODEV')),
    );
    if (failed !== undefined) throw failed;
  }

  remove(): void {
    const link = this.#own();
    if (link !== undefined) this.#links.deleteLink(link.index);
    this.#index = undefined;
    for (const routed of Object.values(this.#routed)) routed.clear();
  }

  close(): void {
    this.#links.close();
  }
}
