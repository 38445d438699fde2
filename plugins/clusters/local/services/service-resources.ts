/** Addresses and node ports of Services: which are free, and how a Service's draft gets what it lacks. */
import { randomInt } from 'node:crypto';
import type { Service } from '../../../../kernel/contract/kubernetes.ts';
import type { Collection } from '../state/collection.ts';
import type { Reservation } from '../strategies/strategy.ts';
import type { FieldErrors } from '../validation/field-errors.ts';
import { formatIp, parseIp, parseRange } from './ip.ts';
import type { Family, Range } from './ip.ts';
import { Ledger } from './ledger.ts';

export function needsAddress(service: Service): boolean {
  return service.spec.type !== 'ExternalName' && service.spec.clusterIP !== 'None';
}

export function needsNodePorts(service: Service): boolean {
  const { type, allocateLoadBalancerNodePorts } = service.spec;
  return type === 'NodePort' || (type === 'LoadBalancer' && allocateLoadBalancerNodePorts !== false);
}

function needsHealthPort({ spec }: Service): boolean {
  return spec.type === 'LoadBalancer' && spec.externalTrafficPolicy === 'Local';
}

function addressesOf(service: Service): string[] {
  const { clusterIP, clusterIPs } = service.spec ?? {};
  return (clusterIPs ?? (clusterIP ? [clusterIP] : [])).filter((ip) => ip !== '' && ip !== 'None');
}

function portsOf(service: Service): Set<number> {
  const ports = new Set<number>();
  for (const { nodePort } of service.spec?.ports ?? []) if (nodePort) ports.add(nodePort);
  if (service.spec?.healthCheckNodePort) ports.add(service.spec.healthCheckNodePort);
  return ports;
}

export class ServiceResources {
  readonly #ranges: readonly Range[];
  readonly #ports: { readonly first: number; readonly last: number };
  readonly #addressLedger: Ledger<string>;
  readonly #portLedger: Ledger<number>;

  constructor(
    services: Collection,
    serviceCidrs: readonly string[],
    ports: { readonly first: number; readonly last: number },
  ) {
    this.#ranges = serviceCidrs.map(parseRange);
    this.#ports = ports;
    this.#addressLedger = new Ledger(services, (object) => addressesOf(object as Service));
    this.#portLedger = new Ledger(services, (object) => portsOf(object as Service));
  }

  /** Families of the ranges, in their order. */
  get families(): readonly Family[] {
    return this.#ranges.map((range) => range.family);
  }

  /** The first usable address: Service default/kubernetes. */
  get firstAddress(): string {
    const range = this.#ranges[0]!;
    return formatIp(range.family, range.first + 1n);
  }

  /** Takes what the draft holds newly and fills in what it lacks. */
  reserve(draft: Service, current: Service | undefined, errors: FieldErrors): Reservation {
    const addresses: string[] = [];
    const ports: number[] = [];
    const settle = () => {
      for (const address of addresses) this.#addressLedger.settle(address);
      for (const port of ports) this.#portLedger.settle(port);
    };
    if (needsAddress(draft)) this.#reserveAddresses(draft, new Set(current && addressesOf(current)), addresses, errors);
    const held = new Set(current && portsOf(current));
    if (needsNodePorts(draft)) this.#reservePorts(draft, held, ports, errors);
    if (needsHealthPort(draft)) {
      const field = 'spec.healthCheckNodePort';
      draft.spec.healthCheckNodePort = this.#port(field, draft.spec.healthCheckNodePort, held, ports, errors) ?? 0;
    }
    return { keep: settle, cancel: settle };
  }

  #reserveAddresses(draft: Service, held: ReadonlySet<string>, taken: string[], errors: FieldErrors): void {
    const addresses = [...(draft.spec.clusterIPs ?? [])];
    for (const [index, family] of (draft.spec.ipFamilies ?? this.families.slice(0, 1)).entries()) {
      const range = this.#ranges.find((candidate) => candidate.family === family);
      const given = addresses[index] ? parseIp(addresses[index]) : undefined;
      // One spelling for one address, or it could be held twice.
      const asked = given ? formatIp(given.family, given.value) : addresses[index];
      if (asked) addresses[index] = asked;
      if (asked && held.has(asked)) continue;
      const fail = (why: string) => errors.invalid('spec.clusterIPs', addresses, why);
      if (!range) {
        fail(`failed to allocate a serviceIP: this cluster has no ${family} service range`);
      } else if (!asked) {
        const address = this.#freeAddress(range);
        if (address === undefined) {
          errors.add(
            'InternalError',
            'spec.clusterIPs',
            `Internal error: failed to allocate a serviceIP: range ${range.text} is full`,
          );
        } else {
          taken.push(address);
          addresses[index] = address;
        }
      } else {
        const value = given?.value ?? 0n;
        const isUsable = value > range.first && value < range.first + range.size - (family === 'IPv4' ? 1n : 0n);
        if (!isUsable) {
          fail(
            `failed to allocate IP ${asked}: the provided IP (${asked}) is not in the valid range. The range of valid IPs is ${range.text}`,
          );
        } else if (this.#addressLedger.take(asked)) taken.push(asked);
        else fail(`failed to allocate IP ${asked}: provided IP is already allocated`);
      }
    }
    if (addresses[0]) {
      draft.spec.clusterIP = addresses[0];
      draft.spec.clusterIPs = addresses;
    }
  }

  /**
   * Random, so that several servers rarely meet and an address is not used again soon; from the upper part of the range,
   * which leaves the lower part for addresses that people choose (KEP-3070). The very first is the
   * one of Service kubernetes, also while somebody has deleted it.
   */
  #freeAddress(range: Range): string | undefined {
    const usable = range.size - (range.family === 'IPv4' ? 2n : 1n);
    const count = usable > 2n ** 32n ? 2 ** 32 : Number(usable);
    const reserved = count < 32 ? 1 : Math.min(256, Math.max(16, Math.floor(count / 16)));
    const probe = (from: number, to: number): string | undefined => {
      const length = to - from;
      if (length <= 0) return undefined;
      const start = randomInt(length);
      for (let step = 0; step < length; step++) {
        const address = formatIp(range.family, range.first + 1n + BigInt(from + ((start + step) % length)));
        if (this.#addressLedger.take(address)) return address;
      }
      return undefined;
    };
    return probe(reserved, count) ?? probe(1, reserved);
  }

  #reservePorts(draft: Service, held: ReadonlySet<number>, taken: number[], errors: FieldErrors): void {
    // One number may serve two protocols of the same port of one Service.
    for (const [index, port] of (draft.spec.ports ?? []).entries()) {
      const twin = draft.spec.ports!.slice(0, index).find((other) => other.port === port.port && other.nodePort);
      const asked = port.nodePort || (twin && twin.protocol !== port.protocol ? twin.nodePort : undefined);
      const number = this.#port(`spec.ports[${index}].nodePort`, asked, held, taken, errors);
      if (number !== undefined) port.nodePort = number;
    }
  }

  #port(
    field: string,
    asked: number | undefined,
    held: ReadonlySet<number>,
    taken: number[],
    errors: FieldErrors,
  ): number | undefined {
    const { first, last } = this.#ports;
    if (asked) {
      if (held.has(asked) || taken.includes(asked)) return asked;
      if (asked < first || asked > last) {
        const range = `${first}-${last}`;
        errors.invalid(field, asked, `provided port is not in the valid range. The range of valid ports is ${range}`);
        return undefined;
      }
      if (this.#portLedger.take(asked)) {
        taken.push(asked);
        return asked;
      }
      errors.invalid(field, asked, 'provided port is already allocated');
      return undefined;
    }
    const count = last - first + 1;
    const start = randomInt(count);
    for (let step = 0; step < count; step++) {
      const port = first + ((start + step) % count);
      if (this.#portLedger.take(port)) {
        taken.push(port);
        return port;
      }
    }
    errors.add('InternalError', field, `Internal error: failed to allocate a nodePort: range ${first}-${last} is full`);
    return undefined;
  }
}
