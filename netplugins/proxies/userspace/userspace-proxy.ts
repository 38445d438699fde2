/**
 * Service proxy in this process: TCP connections and UDP datagrams to service addresses are redirected to listeners here,
 * which hand them on to the endpoints. Owns the listeners, the redirection (an nft table, else iptables chains, else none)
 * and the UDP connection-tracking entries of flows to listeners that are gone. Works in the process's own network namespace.
 */
import {
  PintleError,
  type Clock,
  type Logger,
  type ProxyState,
  type ServiceVerdict,
} from '../../../kernel/contract/index.ts';
import { canonicalIp } from '../../linux/ip-address.ts';
import { flowFamily, type Decision, type ServiceFlow } from '../../linux/service-decision.ts';
import { RepairingProxy } from '../../linux/repairing-proxy.ts';
import { listeningSockets } from '../../linux/trace/sockets.ts';
import { contextOf, type Context, type IpFamily } from '../../linux/service-addresses.ts';
import { Balancer, type Clients } from './balancer.ts';
import { forgetFlows } from './forget-flows.ts';
import type { Choose, Front } from './front.ts';
import { insideOf } from './inside.ts';
import { openRedirection, type Means, type OpenRedirection } from './open-redirection.ts';
import { planOf, type Plan, type Transport } from './plan.ts';
import { lackOf, roomHere } from './room.ts';
import { openTcpFront } from './tcp-front.ts';
import { openUdpFront } from './udp-front.ts';

export interface UserspaceOptions {
  readonly families: readonly IpFamily[];
  readonly redirect: Means | 'auto';
  readonly udpIdleMs: number;
  readonly lockFile?: string | undefined;
  readonly log: Logger;
  readonly clock: Pick<Clock, 'now'>;
}

interface FamilyState {
  readonly family: IpFamily;
  readonly balancers: Map<string, Balancer>;
  /** By affinity group. */
  readonly clients: Map<string, Clients>;
  /** By what they are for and where they listen. */
  readonly fronts: Map<string, Front>;
  /** Port of the listener by UDP portal. */
  udpPorts: ReadonlyMap<string, ReadonlySet<number>>;
  plan: Plan | undefined;
}

interface FrontSpec {
  readonly key: string;
  readonly transport: Transport;
  readonly address: string;
  readonly port: number;
  readonly choose: Choose;
  /** For the redirection. */
  readonly pool: string | undefined;
}

export class UserspaceProxy extends RepairingProxy {
  readonly #options: UserspaceOptions;
  readonly #families: readonly FamilyState[];
  #redirection: OpenRedirection | undefined;

  constructor(options: UserspaceOptions) {
    super({ ...options, name: 'userspace', sctpProblem: 'mode userspace has no sockets for SCTP; choose another' });
    this.#options = options;
    this.#families = options.families.map((family) => ({
      family,
      balancers: new Map(),
      clients: new Map(),
      fronts: new Map(),
      udpPorts: new Map(),
      plan: undefined,
    }));
  }

  protected override async bring(desired: ProxyState): Promise<number> {
    const redirection = await this.#begin();
    this.watch(() => redirection.watch(() => this.damaged()));
    let changed = 0;
    for (const state of this.#families)
      changed += await this.#syncFamily(state, contextOf(desired, state.family), desired, redirection);
    return changed;
  }

  /** By what means traffic gets here. */
  protected override note(): string | undefined {
    return this.#redirection?.note;
  }

  protected override async objectsOf(
    decision: Decision,
    flow: ServiceFlow,
    from: 'pod' | 'node' | 'outside',
  ): Promise<ServiceVerdict['objects'] | undefined> {
    const state = this.#families.find(({ family }) => family === flowFamily(flow));
    if (state === undefined) return undefined;
    // Refused by the redirection; there is no listener to name.
    if (decision.of === undefined) return this.#redirection?.redirectors.length === 0 ? undefined : [];
    if (flow.protocol === 'SCTP') return undefined;
    const transport = flow.protocol === 'TCP' ? 'tcp' : 'udp';
    const portal = state.plan?.portals.get(`${canonicalIp(flow.destination)} . ${transport} . ${flow.port}`);
    const way = from === 'outside' ? portal?.outside : portal?.inside;
    const sockets = listeningSockets(flow.protocol);
    return [...state.fronts]
      .filter(([key]) => way !== undefined && key.startsWith(`${way} at `))
      .map(([key, front]) => ({
        shown: `listener of this process on ${transport} port ${front.port} (${key.slice(key.lastIndexOf(' at ') + 1)})`,
        isPresent: sockets.some((socket) => socket.port === front.port),
      }));
  }

  protected override async remove(): Promise<void> {
    const redirection = await this.#begin();
    for (const each of redirection.redirectors) await each.remove();
    for (const state of this.#families) {
      this.#closeFronts(state);
      if (state.udpPorts.size > 0)
        forgetFlows(state.family, new Map([...state.udpPorts.keys()].map((key) => [key, new Set<number>()])));
      state.udpPorts = new Map();
      state.balancers.clear();
      state.plan = undefined;
    }
  }

  /** The listeners go, and with them what is connected through them; the rules stay for the next instance. */
  protected override release(): void {
    for (const state of this.#families) this.#closeFronts(state);
  }

  protected override async mend(): Promise<void> {
    if (this.#redirection === undefined) return;
    await this.#redirection.check();
    for (const redirector of this.#redirection.redirectors) {
      if (redirector.isSound) continue;
      await redirector.repair();
      if (redirector.isSound) this.mended(redirector.family);
    }
  }

  #closeFronts(state: FamilyState): void {
    for (const front of state.fronts.values()) front.destroy();
    state.fronts.clear();
  }

  async #begin(): Promise<OpenRedirection> {
    this.#redirection ??= await openRedirection(this.#options);
    return this.#redirection;
  }

  async #syncFamily(
    state: FamilyState,
    context: Context,
    desired: ProxyState,
    redirection: OpenRedirection,
  ): Promise<number> {
    const plan = planOf(desired.ports, context);
    let changed = this.#updateBalancers(state, plan);
    const redirector = redirection.redirectors.find(({ family }) => family === state.family);
    const [address] = context.nodeAddresses;
    if (redirector !== undefined && address === undefined && plan.portals.size > 0)
      throw new PintleError(
        'INVALID',
        `Proxy userspace has no ${state.family === 'ip' ? 'IPv4' : 'IPv6'} address of the node to listen on, but Services of that family: expected one in nodeAddresses; give the node one, or leave the family out of "families"`,
      );
    const specs =
      redirector === undefined
        ? this.#directFronts(state, plan, context)
        : this.#poolFronts(state, plan, address ?? '');
    changed += await this.#openFronts(state, specs);
    if (redirector !== undefined) {
      const ports = new Map<string, number>();
      for (const { key, pool } of specs) ports.set(pool ?? '', state.fronts.get(key)?.port ?? 0);
      changed += await redirector.apply({ plan, context, address: address ?? '', ports });
      this.#forgetFlows(state, plan, ports);
    }
    const wanted = new Set(specs.map(({ key }) => key));
    for (const [key, front] of state.fronts) {
      if (wanted.has(key)) front.refresh();
      else {
        front.close();
        state.fronts.delete(key);
        changed += 1;
      }
    }
    state.plan = plan;
    return changed;
  }

  #updateBalancers(state: FamilyState, plan: Plan): number {
    let changed = 0;
    for (const pool of plan.pools.values()) {
      const known = state.balancers.get(pool.id);
      if (known !== undefined) {
        changed += known.update(pool) ? 1 : 0;
        continue;
      }
      const group = pool.affinity?.group ?? pool.id;
      let clients = state.clients.get(group);
      if (clients === undefined) state.clients.set(group, (clients = new Map()));
      state.balancers.set(pool.id, new Balancer(pool, clients, () => performance.now()));
      changed += 1;
    }
    for (const id of state.balancers.keys()) {
      if (plan.pools.has(id)) continue;
      state.balancers.delete(id);
      changed += 1;
    }
    const groups = new Set([...plan.pools.values()].map(({ id, affinity }) => affinity?.group ?? id));
    for (const group of state.clients.keys()) if (!groups.has(group)) state.clients.delete(group);
    return changed;
  }

  /** One listener a pool, at any free port. */
  #poolFronts(state: FamilyState, plan: Plan, address: string): FrontSpec[] {
    return [...plan.pools.values()].map(({ id, transport }) => ({
      key: `${id} at ${address}`,
      transport,
      address,
      port: 0,
      choose: () => state.balancers.get(id),
      pool: id,
    }));
  }

  /** Without a redirection: one listener a NodePort, at that port. */
  #directFronts(state: FamilyState, plan: Plan, context: Context): FrontSpec[] {
    const isInside = insideOf(context);
    return [...plan.portals]
      .filter(([, { isNodePort, inside }]) => isNodePort && plan.pools.has(inside))
      .map(([key, { ip, port, transport }]) => ({
        key: `direct ${key}`,
        transport,
        address: ip,
        port,
        choose: (client) => {
          const portal = state.plan?.portals.get(key);
          return state.balancers.get((isInside(client) ? portal?.inside : portal?.outside) ?? '');
        },
        pool: undefined,
      }));
  }

  async #openFronts(state: FamilyState, specs: readonly FrontSpec[]): Promise<number> {
    let opened = 0;
    checkRoom(specs, (key) => state.fronts.has(key));
    for (const { key, transport, address, port, choose } of specs) {
      if (state.fronts.has(key)) continue;
      try {
        const front =
          transport === 'tcp'
            ? await openTcpFront(choose, address, port)
            : await openUdpFront(choose, address, port, this.#options.udpIdleMs);
        state.fronts.set(key, front);
        opened += 1;
      } catch (error) {
        const errno = (error as NodeJS.ErrnoException).code ?? 'UNKNOWN';
        throw new PintleError(
          'KERNEL_REFUSED',
          `Listening on ${address} port ${port} (${transport}): the kernel refused it (${errno}); ${errno === 'EMFILE' ? 'expected descriptors to be left: raise the limit of open files (LimitNOFILE, ulimit -n)' : 'expected an address of this node and a port that nobody else listens on'}`,
          { details: { errno, extack: '' }, cause: error as Error },
        );
      }
    }
    return opened;
  }

  #forgetFlows(state: FamilyState, plan: Plan, ports: ReadonlyMap<string, number>): void {
    const now = new Map<string, ReadonlySet<number>>();
    for (const { ip, port, transport, inside, outside } of plan.portals.values()) {
      if (transport !== 'udp') continue;
      const of = [ports.get(inside), ports.get(outside)].filter((each) => each !== undefined);
      now.set(`${ip}:${port}`, new Set(of));
    }
    const moved = new Map<string, ReadonlySet<number>>();
    for (const key of new Set([...state.udpPorts.keys(), ...now.keys()])) {
      const [before, after] = [state.udpPorts.get(key), now.get(key) ?? new Set<number>()];
      if (String([...(before ?? ['new'])]) !== String([...after])) moved.set(key, after);
    }
    state.udpPorts = now;
    if (moved.size > 0) forgetFlows(state.family, moved);
  }
}

/** A few need no question. */
const unaskedListeners = 500;

function checkRoom(specs: readonly FrontSpec[], isOpen: (key: string) => boolean): void {
  const more = specs.filter(({ key }) => !isOpen(key)).length;
  if (more <= unaskedListeners) return;
  const count = (of: Transport): number => specs.filter(({ transport, port }) => transport === of && port === 0).length;
  const lack = lackOf({ more, most: Math.max(count('tcp'), count('udp')) }, roomHere());
  if (lack === undefined) return;
  throw new PintleError('KERNEL_REFUSED', `Proxy userspace: ${lack.words}`, {
    details: { errno: lack.errno, extack: '' },
  });
}
