/**
 * Attachment by veth pairs, for the plugins whose node sides differ (a bridge, plain routes). Owns on the node: the veth
 * ends whose names follow from sandbox ids, two nft tables a family (masquerade, host ports), the leases and the former
 * kernel settings in its state folder. Watches them, and puts back what somebody else deletes.
 */
import { join } from 'node:path';
import {
  PintleError,
  type Attached,
  type Attachment,
  type AttachmentCapability,
  type AttachmentRequest,
  type HostPort,
  type Logger,
  type NodeNetwork,
} from '../../../kernel/contract/index.ts';
import { bootId as currentBootId, HeldSettings } from '../held-settings.ts';
import { isNetns } from '../namespaces.ts';
import { monitorNft } from '../nft-monitor.ts';
import { OwnPorts } from '../own-ports.ts';
import { nftTransaction } from '../nft.ts';
import type { Rtnetlink } from '../rtnetlink.ts';
import { writeSysctl } from '../sysctl.ts';
import { forwardingWarning } from './forwarding-warning.ts';
import { holdForwarding, holdLinkForwarding, keepForwarding } from './hold-forwarding.ts';
import { forgetUdpFlows } from './host-port-flows.ts';
import { doCollide, hasLoopback, renderHostPorts } from './host-ports.ts';
import { LeaseStore, type Lease } from './lease-store.ts';
import { renderMasquerade, renderRemovals } from './masquerade.ts';
import { nodeView, type NodeSide } from './node-side.ts';
import {
  checkPod,
  connectPod,
  hostInterfaceOf,
  isHostInterface,
  macOf,
  podInterface,
  setPodMtu,
} from './pod-interface.ts';

export interface VethOptions {
  readonly stateDir: string;
  readonly log: Logger;
  /** Path of the node's network namespace; undefined: the process's own. */
  readonly netns?: string | undefined;
  readonly bootId?: string | undefined;
}

/** Repairs are gathered for this long, so that a flush of many objects is one repair. */
const settleMs = 50;
const retryMs = 1_000;
/** How often settings are looked at. */
const lookMs = 1_000;
/** A link that carries nothing yet has been waited for long enough by then; the pod may still come up. */
const carrierMs = 2_000;

type Part = 'links' | 'tables' | 'forwarding';

export class VethAttachment implements Attachment, AsyncDisposable {
  readonly capabilities: readonly AttachmentCapability[] = ['ipv4', 'ipv6', 'host-ports', 'bandwidth'];
  readonly #options: VethOptions;
  readonly #host: Rtnetlink;
  readonly #side: NodeSide;
  readonly #table: string;
  readonly #portsTable: string;
  readonly #leases: LeaseStore;
  readonly #settings: HeldSettings;
  readonly #stops: (() => void)[] = [];
  readonly #ownPorts = new OwnPorts();
  #network: NodeNetwork | undefined;
  #repair: NodeJS.Timeout | undefined;
  /** Runs of `configure`, changes of host ports and repairs, one after the other. */
  #turn: Promise<void> = Promise.resolve();
  readonly #damaged = new Set<Part>();
  #warning: string | undefined;
  #disposed = false;

  /** Closes `host` when it is disposed. */
  constructor(options: VethOptions, host: Rtnetlink, side: NodeSide) {
    this.#options = options;
    this.#host = host;
    this.#side = side;
    this.#table = `pintle-${side.name}`;
    this.#portsTable = `pintle-${side.name}-ports`;
    const bootId = options.bootId ?? currentBootId();
    this.#leases = new LeaseStore(join(options.stateDir, 'leases'), bootId);
    this.#settings = new HeldSettings(join(options.stateDir, 'settings.json'), bootId, options);
  }

  async configure(network: NodeNetwork): Promise<void> {
    this.#side.validate(network);
    return this.#inTurn(async () => {
      this.#network = network;
      holdForwarding(this.#settings, network.podCidrs);
      this.#side.prepare(network, this.#leases.list());
      for (const lease of this.#leases.list())
        setPodMtu(this.#host, this.#linkOf(lease.sandboxId), lease, network.mtuBytes);
      this.#holdLinks(network);
      await this.#withLoopback(() => this.#nft(this.#renderMasquerade(network) + this.#renderPorts()));
      this.#watch();
      await this.#lookAtForwarding();
    });
  }

  async add(request: AttachmentRequest): Promise<Attached> {
    const network = this.#configured(`Attaching pod ${request.podNamespace}/${request.podName}`);
    const { sandboxId, netns, hostPorts, bandwidth } = request;
    this.#refuseTakenPorts(sandboxId, hostPorts);
    this.#side.prepare(network, this.#leases.list());
    const name = this.#linkOf(sandboxId);
    const known = this.#leases.get(sandboxId);
    if (known !== undefined) {
      const isCurrent = this.#leases.isOfThisBoot(known) && known.netns === netns;
      if (isCurrent && this.#check(known, network.mtuBytes).length === 0) {
        if (!isSame(known.hostPorts ?? [], hostPorts)) await this.#setHostPorts(known, hostPorts);
        return attached(known);
      }
      // Left by a crash, a reboot or somebody's hand: begin again.
      await this.#forget(known);
    }
    const lease = this.#leases.acquire(
      sandboxId,
      netns,
      network.podCidrs,
      bandwidth === undefined ? {} : { bandwidth },
    );
    try {
      connectPod(this.#host, { name, lease, mtuBytes: network.mtuBytes }, (port) => this.#side.plug(port, lease));
      await this.#carrier(this.#side.awaited(name, lease));
      if (hostPorts.length > 0) await this.#setHostPorts(lease, hostPorts);
    } catch (error) {
      await this.#forget(this.#leases.get(sandboxId) ?? lease);
      throw error;
    }
    return attached(lease);
  }

  async remove({ sandboxId }: { readonly sandboxId: string; readonly netns?: string | undefined }): Promise<void> {
    const lease = this.#leases.get(sandboxId);
    if (lease !== undefined) return this.#forget(lease);
    this.#host.deleteLink(this.#linkOf(sandboxId));
  }

  async check({
    sandboxId,
    netns,
  }: {
    readonly sandboxId: string;
    readonly netns: string;
  }): Promise<readonly string[]> {
    const lease = this.#leases.get(sandboxId);
    if (lease === undefined) return [`sandbox ${sandboxId} is not attached`];
    const mtuBytes = this.#network?.mtuBytes ?? this.#host.getLink(this.#linkOf(sandboxId))?.mtu ?? 0;
    return this.#check({ ...lease, netns }, mtuBytes);
  }

  async list(): Promise<readonly Attached[]> {
    return this.#leases
      .list()
      .filter((lease) => this.#leases.isOfThisBoot(lease))
      .map(attached);
  }

  async gc(valid: ReadonlySet<string>): Promise<readonly string[]> {
    const removed: string[] = [];
    for (const lease of this.#leases.list()) {
      if (valid.has(lease.sandboxId) && this.#leases.isOfThisBoot(lease)) continue;
      await this.#forget(lease);
      removed.push(lease.sandboxId);
    }
    // Interfaces whose record is lost (a state folder that was deleted).
    const known = new Set(this.#leases.list().map(({ sandboxId }) => this.#linkOf(sandboxId)));
    for (const port of this.#side.ports()) if (!known.has(port.name)) this.#host.deleteLink(port.index);
    return removed;
  }

  status(): { readonly ready: boolean; readonly reason?: string | undefined } {
    if (this.#network === undefined) return { ready: false, reason: 'the node has no pod range yet' };
    return { ready: true, reason: this.#warning };
  }

  async purge(): Promise<void> {
    await this.#inTurn(async () => {
      this.#unwatch();
      this.#network = undefined;
      for (const lease of this.#leases.list()) this.#host.deleteLink(this.#linkOf(lease.sandboxId));
      for (const port of this.#side.ports()) this.#host.deleteLink(port.index);
      this.#side.purge();
      await this.#nft(renderRemovals(this.#table) + renderRemovals(this.#portsTable));
      this.#settings.restore();
      this.#leases.purge();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#unwatch();
    // Told to the caller whose turn it was.
    await this.#turn.catch(() => undefined);
    this.#host.close();
  }

  #configured(what: string): NodeNetwork {
    if (this.#network !== undefined) return this.#network;
    throw new PintleError('UNAVAILABLE', `${what}: the node's pod network is not configured yet; try again`);
  }

  #linkOf(sandboxId: string): string {
    return hostInterfaceOf(this.#side.linkPrefix, sandboxId);
  }

  #check(lease: Lease, mtuBytes: number): string[] {
    const name = this.#linkOf(lease.sandboxId);
    const port = this.#host.getLink(name);
    const wrong = port === undefined ? [`the node's interface ${name} is missing`] : this.#checkPort(port, lease);
    return [...wrong, ...checkPod(port, lease, mtuBytes)];
  }

  #checkPort(port: Parameters<NodeSide['check']>[0], lease: Lease, view = nodeView(this.#host)): string[] {
    return [...(port.up ? [] : [`${port.name} is down`]), ...this.#side.check(port, lease, view)];
  }

  #inTurn(act: () => Promise<void>): Promise<void> {
    // Its caller hears of a failure; the next one only waits for its turn.
    const run = this.#turn.catch(() => undefined).then(act);
    this.#turn = run;
    return run;
  }

  #nft(text: string): Promise<void> {
    return nftTransaction(text, {
      netns: this.#options.netns,
      onPort: (port) => this.#ownPorts.add(port),
    });
  }

  /** The kernel opens a new link a moment after both ends are up; a pod that is started before would lose packets. */
  async #carrier(names: readonly string[]): Promise<void> {
    const end = performance.now() + carrierMs;
    const isOpen = (name: string): boolean => this.#host.getLink(name)?.operational !== false;
    while (!names.every(isOpen) && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 2));
  }

  /** Ports first: nothing may be sent to an address that another pod gets next. */
  async #forget(lease: Lease): Promise<void> {
    if (lease.hostPorts !== undefined) await this.#setHostPorts(lease, []);
    this.#host.deleteLink(this.#linkOf(lease.sandboxId));
    this.#leases.release(lease.sandboxId);
  }

  #refuseTakenPorts(sandboxId: string, hostPorts: readonly HostPort[]): void {
    for (const lease of this.#leases.list()) {
      if (lease.sandboxId === sandboxId || !this.#leases.isOfThisBoot(lease)) continue;
      const taken = hostPorts.find((port) => lease.hostPorts?.some((other) => doCollide(port, other)));
      if (taken !== undefined)
        throw new PintleError(
          'UNAVAILABLE',
          `Host port ${taken.hostPort}/${taken.protocol} for sandbox ${sandboxId}: sandbox ${lease.sandboxId} of this node ` +
            'has it; expected it to be free. Try again when that pod is gone',
        );
    }
  }

  #setHostPorts(lease: Lease, hostPorts: readonly HostPort[]): Promise<void> {
    return this.#inTurn(async () => {
      // Another call may have ended this sandbox while this one waited its turn.
      if (this.#leases.get(lease.sandboxId) === undefined) return;
      this.#refuseTakenPorts(lease.sandboxId, hostPorts);
      this.#leases.setHostPorts(lease, hostPorts);
      await this.#withLoopback(() => this.#nft(this.#renderPorts()));
      forgetUdpFlows(this.#host, lease.ips, [...hostPorts, ...(lease.hostPorts ?? [])], this.#options);
    });
  }

  #withPorts(): Lease[] {
    return this.#leases.list().filter((lease) => lease.hostPorts !== undefined && this.#leases.isOfThisBoot(lease));
  }

  #renderPorts(): string {
    return renderHostPorts(this.#portsTable, this.#withPorts());
  }

  #renderMasquerade({ podCidrs, clusterCidrs }: NodeNetwork): string {
    return renderMasquerade({ table: this.#table, podCidrs, clusterCidrs });
  }

  /**
   * Packets between 127.0.0.1 and pods pass only while a host port needs them to, and only while the table of host ports
   * keeps forged ones out: closed before `change` makes the table, opened after it.
   */
  async #withLoopback(change: () => Promise<void>): Promise<void> {
    const open = this.#loopbackLinks();
    for (const name of this.#side.nearLinks(this.#leases.list().map(({ sandboxId }) => this.#linkOf(sandboxId))))
      if (!open.includes(name)) this.#setLoopback(name, 0);
    await change();
    this.#openLoopback();
  }

  #openLoopback(): void {
    for (const name of this.#loopbackLinks()) this.#setLoopback(name, 1);
  }

  #loopbackLinks(): readonly string[] {
    const ports = this.#withPorts().filter(hasLoopback);
    if (ports.length === 0) return [];
    return this.#side.nearLinks(ports.map(({ sandboxId }) => this.#linkOf(sandboxId)));
  }

  #setLoopback(link: string, value: 0 | 1): void {
    if (this.#host.getLink(link) !== undefined)
      writeSysctl(`net.ipv4.conf.${link.replaceAll('.', '/')}.route_localnet`, value, this.#options);
  }

  #lookAtSettings(): void {
    if (this.#network === undefined) return;
    keepForwarding(this.#settings, this.#network.podCidrs, this.#options.log);
    try {
      this.#holdLinks(this.#network);
    } catch (error) {
      this.#options.log.debug('Settings of links to pods cannot be put right', { error: String(error) });
    }
  }

  #holdLinks({ podCidrs }: NodeNetwork): void {
    for (const name of this.#side.nearLinks(this.#leases.list().map(({ sandboxId }) => this.#linkOf(sandboxId))))
      if (holdLinkForwarding(name, podCidrs, this.#options))
        // IPv6 that was switched off has taken its addresses along.
        this.#scheduleRepair('links');
  }

  async #lookAtForwarding(): Promise<void> {
    const before = this.#warning;
    this.#warning = await forwardingWarning(this.#side.linkPattern, this.#options);
    if (this.#warning !== undefined && this.#warning !== before) this.#options.log.warn(this.#warning);
  }

  #watch(): void {
    if (this.#stops.length > 0) return;
    const tables = [this.#table, this.#portsTable];
    const look = setInterval(() => this.#lookAtSettings(), lookMs).unref();
    this.#stops.push(() => clearInterval(look));
    this.#stops.push(
      this.#host.subscribe((event) => {
        const port = event.kind === 'link' ? event.link.name : event.kind === 'port' ? event.name : undefined;
        const isPorts = port !== undefined && isHostInterface(this.#side.linkPrefix, port);
        if (event.kind === 'overflow' || event.kind === 'address' || isPorts || this.#side.concerns(event))
          this.#scheduleRepair('links');
      }),
      monitorNft((change) => {
        if (change === 'overflow' || (tables.includes(change.table) && !this.#ownPorts.has(change.port)))
          this.#scheduleRepair('tables');
        else if (change.table === 'filter' && change.isOfChain && change.mentions('FORWARD'))
          this.#scheduleRepair('forwarding');
      }, this.#options),
    );
  }

  #unwatch(): void {
    clearTimeout(this.#repair);
    this.#repair = undefined;
    this.#damaged.clear();
    for (const stop of this.#stops.splice(0)) stop();
  }

  #scheduleRepair(part: Part): void {
    this.#damaged.add(part);
    this.#repair ??= setTimeout(() => {
      this.#repair = undefined;
      this.#inTurn(() => this.#repairNow()).catch((error: unknown) => {
        if (this.#disposed || this.#stops.length === 0) return;
        this.#options.log.error('The pod network of this node could not be repaired; trying again', {
          error: String(error),
        });
        this.#repair ??= setTimeout(() => {
          this.#repair = undefined;
          this.#scheduleRepair(part);
        }, retryMs);
      });
    }, settleMs);
  }

  /** Looks at what may be damaged and puts it right. Most looks find our own changes, and nothing to do. */
  async #repairNow(): Promise<void> {
    const network = this.#network;
    if (network === undefined || this.#stops.length === 0) return;
    const damaged = new Set(this.#damaged);
    this.#damaged.clear();
    try {
      if (damaged.has('tables')) await this.#nft(this.#renderMasquerade(network) + this.#renderPorts());
      if (damaged.has('links')) this.#repairLinks(network);
      if (damaged.has('forwarding') || damaged.has('tables')) await this.#lookAtForwarding();
    } catch (error) {
      for (const part of damaged) this.#damaged.add(part);
      throw error;
    }
  }

  #repairLinks(network: NodeNetwork): void {
    this.#side.prepare(network, this.#leases.list());
    const links = new Map(this.#host.listLinks().map((link) => [link.name, link]));
    const view = nodeView(this.#host);
    for (const lease of this.#leases.list()) {
      const name = this.#linkOf(lease.sandboxId);
      const port = links.get(name);
      if (port === undefined) {
        if (this.#leases.isOfThisBoot(lease) && isNetns(lease.netns))
          connectPod(this.#host, { name, lease, mtuBytes: network.mtuBytes }, (fresh) => this.#side.plug(fresh, lease));
        continue;
      }
      if (this.#checkPort(port, lease, view).length > 0) this.#side.plug(port, lease);
      if (port.mtu !== network.mtuBytes) setPodMtu(this.#host, name, lease, network.mtuBytes);
    }
    this.#openLoopback();
  }
}

function isSame(one: readonly HostPort[], two: readonly HostPort[]): boolean {
  const text = ({ hostIp, hostPort, containerPort, protocol }: HostPort): string =>
    [hostIp, hostPort, containerPort, protocol].join(' ');
  return one.map(text).sort().join() === two.map(text).sort().join();
}

function attached(lease: Lease): Attached {
  const { sandboxId, ips, gateways } = lease;
  return { sandboxId, interface: podInterface, mac: macOf(ips[0] ?? ''), ips, gateways };
}
