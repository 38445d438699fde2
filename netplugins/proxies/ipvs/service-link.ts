/**
 * The dummy link with the service addresses: they make packets to Services packets to the node, which is where IPVS takes
 * them. Owns the link, which says so in its alias; another's link of the same name is left alone.
 */
import { PintleError } from '../../../kernel/contract/index.ts';
import { openRtnetlink, type Link, type Rtnetlink } from '../../linux/rtnetlink.ts';
import type { IpFamily } from '../../linux/service-addresses.ts';

const alias = 'pintle service addresses';

const familyNumber = { ip: 2, ip6: 10 } as const;
const hostBits = { ip: 32, ip6: 128 } as const;
const isLinkLocal = (address: string): boolean => address.startsWith('fe80:');

export class ServiceLink {
  readonly name: string;
  readonly #links: Rtnetlink;
  #index: number | undefined;

  constructor(name: string, options: { readonly netns?: string | undefined }) {
    this.name = name;
    this.#links = openRtnetlink(options);
  }

  /** Calls `onDamage` when the link goes, or goes down, or loses an address that `isWanted`. */
  watch(isWanted: (address: string) => boolean, onDamage: () => void): () => void {
    return this.#links.subscribe((event) => {
      if (event.kind === 'overflow') return onDamage();
      if (event.kind === 'link' && event.link.name === this.name && (event.deleted || !event.link.up)) onDamage();
      if (
        event.kind === 'address' &&
        event.deleted &&
        event.address.index === this.#index &&
        isWanted(event.address.address)
      )
        onDamage();
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
    return isNew || !isRight;
  }

  /** The alias is set after the link is made: a predecessor may have been killed in between. */
  #isUnfinished({ index, kind, up, alias: name }: Link): boolean {
    return kind === 'dummy' && !up && name === undefined && this.#links.listAddresses({ index }).length === 0;
  }

  /** Addresses of one family that the link has; none when it is not there, or not ours. */
  addresses(family: IpFamily): string[] {
    const link = this.#links.getLink(this.name);
    if (link === undefined || link.alias !== alias) return [];
    return this.#links
      .listAddresses({ index: link.index, family: familyNumber[family] })
      .map(({ address }) => address)
      .filter((address) => !isLinkLocal(address));
  }

  change(family: IpFamily, added: readonly string[], deleted: readonly string[]): void {
    if (added.length === 0 && deleted.length === 0) return;
    const cidr = (address: string): string => `${address}/${hostBits[family]}`;
    this.#links.changeAddresses(this.#index ?? 0, added.map(cidr), deleted.map(cidr));
  }

  remove(): void {
    const link = this.#links.getLink(this.name);
    if (link?.alias === alias) this.#links.deleteLink(link.index);
    this.#index = undefined;
  }

  close(): void {
    this.#links.close();
  }
}
