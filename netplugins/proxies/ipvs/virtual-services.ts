/**
 * The virtual services of one address family that are ours, and what the kernel has of them. Owns those services. IPVS
 * sends no notifications, so `check` looks.
 *
 * A destination that new connections must not reach any more keeps its connections: its weight is 0 until they have ended.
 * So does a whole service. Not with UDP, which has no end: there the next packet of a flow must find another destination.
 */
import type { Ipvs, IpvsChange } from '../../linux/ipvs.ts';
import {
  destinationText,
  familyOfKey,
  keyText,
  type IpvsDestination,
  type IpvsKey,
  type IpvsService,
} from '../../linux/ipvs-codec.ts';
import type { Backend, VirtualService } from './render-port.ts';

/** Connections of a service or destination that is gone are kept this long at most. */
const drainMs = 15 * 60_000;
/** What one check looks at: services in turn, so that its cost does not grow with their number. */
const checkedServices = 32;

interface KernelService extends IpvsService {
  readonly destinations: Map<string, IpvsDestination>;
}

interface Draining {
  readonly key: IpvsKey;
  readonly untilMs: number;
}

const masquerading = ({ address, port, weight }: Backend): IpvsDestination => ({ address, port, weight, method: 0 });
const isUdp = (key: IpvsKey): boolean => 'protocol' in key && key.protocol === 'udp';

export interface VirtualServicesOptions {
  readonly now: () => number;
  /** The kernel takes no such endpoint (a broadcast or multicast address): the service goes without it. */
  readonly onRefused: (endpoint: string, service: string) => void;
}

export class VirtualServices {
  readonly #ipvs: Ipvs;
  readonly #family: number;
  readonly #now: () => number;
  readonly #onRefused: VirtualServicesOptions['onRefused'];
  readonly #kernel = new Map<string, KernelService>();
  readonly #draining = new Map<string, Draining>();
  /** Where the checks are; what comes meanwhile is met too, what goes is not. */
  #turn: Iterator<KernelService, undefined> = this.#kernel.values();

  constructor(ipvs: Ipvs, family: number, { now, onRefused }: VirtualServicesOptions) {
    this.#ipvs = ipvs;
    this.#family = family;
    this.#now = now;
    this.#onRefused = onRefused;
  }

  /** Services that have destinations which are kept for their connections alone. */
  draining(): IpvsKey[] {
    return [...this.#draining.values()].map(({ key }) => key);
  }

  get hasDraining(): boolean {
    return this.#draining.size > 0;
  }

  /** Reads what the kernel has: a predecessor's, or what somebody else left of ours. */
  load(isOwn: (key: IpvsKey) => boolean): string[] {
    this.#kernel.clear();
    this.#draining.clear();
    for (const service of this.#ipvs.listServices()) {
      if (familyOfKey(service.key) !== this.#family || !isOwn(service.key)) continue;
      this.#kernel.set(keyText(service.key), { ...service, destinations: this.#destinationsOf(service.key) });
    }
    return [...this.#kernel.keys()];
  }

  /** Brings services to what is wanted: undefined, not at all. Returns how many changes that took. */
  reconcile(wanted: Iterable<readonly [string, VirtualService | undefined]>): number {
    const changes: IpvsChange[] = [];
    for (const [text, service] of wanted) {
      if (service === undefined) this.#remove(text, changes);
      else this.#bring(text, service, changes);
    }
    const refused = this.#ipvs.apply(changes);
    for (const { key, destination } of refused) {
      this.#kernel.get(keyText(key))?.destinations.delete(destinationText(destination));
      this.#onRefused(destinationText(destination), keyText(key));
    }
    return changes.length - refused.length;
  }

  /** Lets go of what has no connections left. Returns services that are gone now. */
  drain(): string[] {
    const gone: string[] = [];
    const changes: IpvsChange[] = [];
    for (const [text, { key, untilMs }] of this.#draining) {
      const service = this.#kernel.get(text);
      if (service === undefined) {
        this.#draining.delete(text);
        continue;
      }
      const isOver = this.#now() >= untilMs;
      let left = 0;
      for (const each of this.#ipvs.listDestinations(key)) {
        const known = service.destinations.get(destinationText(each));
        if (known?.weight !== 0) continue;
        if (!isOver && each.activeConnections + each.inactiveConnections > 0) left += 1;
        else this.#deleteDestination(service, known, changes);
      }
      if (left > 0) continue;
      this.#draining.delete(text);
      if (service.destinations.size > 0) continue;
      changes.push({ verb: 'deleteService', key });
      this.#kernel.delete(text);
      gone.push(text);
    }
    this.#ipvs.apply(changes);
    return gone;
  }

  /** Whether some of the services, others each time, are as they should be. */
  check(): boolean {
    for (let count = Math.min(checkedServices, this.#kernel.size); count > 0; count -= 1) {
      let next = this.#turn.next();
      if (next.done === true) {
        this.#turn = this.#kernel.values();
        next = this.#turn.next();
      }
      if (next.done !== true && !this.#isRight(next.value)) return false;
    }
    return true;
  }

  /** Whoever made them. */
  removeAll(isOwn: (key: IpvsKey) => boolean): void {
    const keys = this.#ipvs.listServices().map(({ key }) => key);
    const own = keys.filter((key) => familyOfKey(key) === this.#family && isOwn(key));
    this.#ipvs.apply(own.map((key) => ({ verb: 'deleteService', key })));
    this.#kernel.clear();
    this.#draining.clear();
  }

  #destinationsOf(key: IpvsKey): Map<string, IpvsDestination> {
    return new Map(
      this.#ipvs
        .listDestinations(key)
        .map(({ address, port, weight, method }) => [
          destinationText({ address, port }),
          { address, port, weight, method },
        ]),
    );
  }

  #isRight(service: KernelService): boolean {
    const found = this.#ipvs.getService(service.key);
    if (found === undefined || !isSameService(found, service)) return false;
    const destinations = this.#destinationsOf(service.key);
    return (
      destinations.size === service.destinations.size &&
      [...service.destinations].every(([text, { weight, method }]) => {
        const other = destinations.get(text);
        return other?.weight === weight && other.method === method;
      })
    );
  }

  #bring(text: string, wanted: VirtualService, changes: IpvsChange[]): void {
    const { key, scheduler, persistenceSeconds, backends } = wanted;
    const service: IpvsService = { key, scheduler, persistenceSeconds };
    let known = this.#kernel.get(text);
    if (known === undefined) changes.push({ verb: 'addService', service });
    else if (!isSameService(known, service)) changes.push({ verb: 'editService', service });
    known = { ...service, destinations: known?.destinations ?? new Map<string, IpvsDestination>() };
    this.#kernel.set(text, known);
    const left = new Map(known.destinations);
    for (const backend of backends) {
      const destination = masquerading(backend);
      const id = destinationText(destination);
      const before = left.get(id);
      left.delete(id);
      if (before?.weight === destination.weight && before.method === destination.method) continue;
      changes.push({ verb: before === undefined ? 'addDestination' : 'editDestination', key, destination });
      known.destinations.set(id, destination);
    }
    // A service that is wanted again drains no more, but perhaps some of its destinations do.
    this.#draining.delete(text);
    this.#retire(text, known, [...left.values()], changes);
  }

  #remove(text: string, changes: IpvsChange[]): void {
    const known = this.#kernel.get(text);
    if (known === undefined || this.#draining.has(text)) {
      if (known !== undefined && [...known.destinations.values()].some(({ weight }) => weight > 0))
        this.#retire(text, known, [...known.destinations.values()], changes);
      return;
    }
    this.#retire(text, known, [...known.destinations.values()], changes);
    if (known.destinations.size > 0) return;
    changes.push({ verb: 'deleteService', key: known.key });
    this.#kernel.delete(text);
  }

  /** Takes destinations out, at once or when their connections have ended. */
  #retire(text: string, service: KernelService, leaving: readonly IpvsDestination[], changes: IpvsChange[]): void {
    if (leaving.length === 0) return;
    const { key } = service;
    const listed = isUdp(key) ? [] : this.#ipvs.listDestinations(key);
    const busy = new Set(
      listed
        .filter(({ activeConnections, inactiveConnections }) => activeConnections + inactiveConnections > 0)
        .map(destinationText),
    );
    for (const destination of leaving) {
      const id = destinationText(destination);
      if (!busy.has(id)) {
        this.#deleteDestination(service, destination, changes);
        continue;
      }
      this.#draining.set(text, { key, untilMs: this.#now() + drainMs });
      if (destination.weight === 0) continue;
      const silent = { ...destination, weight: 0 };
      service.destinations.set(id, silent);
      changes.push({ verb: 'editDestination', key, destination: silent });
    }
  }

  #deleteDestination(service: KernelService, destination: IpvsDestination, changes: IpvsChange[]): void {
    service.destinations.delete(destinationText(destination));
    changes.push({ verb: 'deleteDestination', key: service.key, destination });
  }
}

function isSameService(one: IpvsService, other: IpvsService): boolean {
  return one.scheduler === other.scheduler && one.persistenceSeconds === other.persistenceSeconds;
}
