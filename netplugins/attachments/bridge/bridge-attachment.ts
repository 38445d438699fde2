/**
 * Attachment by a Linux bridge and veth pairs. Owns on the node: the bridge and its addresses, the veth ends whose names
 * follow from sandbox ids, the nft tables `ip`/`ip6 pintle-bridge`, and the leases in its state folder. Watches them, and
 * puts back what somebody else deletes.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  PintleError,
  type Attached,
  type Attachment,
  type AttachmentRequest,
  type Logger,
  type NodeNetwork,
} from '../../../kernel/contract/index.ts';
import { AF_INET, familyOf, formatMac, parseCidr } from '../../linux/ip-address.ts';
import { isNetns } from '../../linux/namespaces.ts';
import { monitorNft } from '../../linux/nft-monitor.ts';
import { nftList, nftTransaction } from '../../linux/nft.ts';
import { openRtnetlink, RT_SCOPE_LINK, type Link, type Rtnetlink } from '../../linux/rtnetlink.ts';
import { readSysctl, writeSysctl } from '../../linux/sysctl.ts';
import { gatewayOf, LeaseStore, type Lease } from './lease-store.ts';
import { renderMasquerade, renderRemovals, tableName } from './masquerade.ts';
import { checkPod, connectPod, hostInterfaceOf, isHostInterface, macOf, podInterface } from './pod-interface.ts';

export interface BridgeOptions {
  readonly bridge: string;
  readonly stateDir: string;
  readonly log: Logger;
  /** Path of the node's network namespace; undefined: the process's own. */
  readonly netns?: string | undefined;
  readonly bootId?: string | undefined;
}

/** Set on the bridge when it is made: how a later instance, or another program's cni0, is told apart. */
export function bridgeMacOf(name: string): string {
  const hash = createHash('sha256').update(`pintle bridge ${name}`).digest();
  return formatMac(Buffer.concat([Buffer.from([0x02]), hash.subarray(0, 5)]));
}

/** Repairs are gathered for this long, so that a flush of many objects is one repair. */
const settleMs = 50;
const retryMs = 1_000;
/** A bridge without a working port has waited long enough by then; the pod may still come up. */
const carrierMs = 2_000;

type Part = 'links' | 'masquerade' | 'forwarding';

export class BridgeAttachment implements Attachment, AsyncDisposable {
  readonly #options: BridgeOptions;
  readonly #host: Rtnetlink;
  readonly #leases: LeaseStore;
  readonly #stops: (() => void)[] = [];
  readonly #ownPorts = new Set<number>();
  #network: NodeNetwork | undefined;
  #repair: NodeJS.Timeout | undefined;
  /** Runs of `configure` and repairs, one after the other. */
  #turn: Promise<void> = Promise.resolve();
  readonly #damaged = new Set<Part>();
  #warning: string | undefined;
  #disposed = false;

  constructor(options: BridgeOptions) {
    this.#options = options;
    const bootId = options.bootId ?? readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    this.#leases = new LeaseStore(join(options.stateDir, 'leases'), bootId);
    this.#host = openRtnetlink({ netns: options.netns });
  }

  configure(network: NodeNetwork): Promise<void> {
    for (const range of network.podCidrs) {
      const { prefixLength, family } = parseCidr(range);
      if (prefixLength <= (family === AF_INET ? 30 : 126)) continue;
      throw new PintleError(
        'INVALID',
        `Pod range ${range} is too small for a bridge: expected at least a gateway and one pod`,
      );
    }
    return this.#inTurn(async () => {
      this.#network = network;
      this.#settings(network);
      this.#ensureBridge(network);
      await this.#nft(renderMasquerade(network));
      this.#watch();
      await this.#lookAtForwarding();
    });
  }

  async add(request: AttachmentRequest): Promise<Attached> {
    const network = this.#configured(`Attaching pod ${request.podNamespace}/${request.podName}`);
    if (request.hostPorts.length > 0)
      throw new PintleError(
        'UNSUPPORTED',
        `Attachment bridge does not declare host-ports; pod ${request.podNamespace}/${request.podName} asks for ` +
          `${request.hostPorts.length}. Use a Service of type NodePort instead`,
      );
    const bridge = this.#ensureBridge(network);
    const { sandboxId, netns } = request;
    const known = this.#leases.get(sandboxId);
    if (known !== undefined) {
      const place = { lease: known, netns, bridge, mtuBytes: network.mtuBytes };
      const isCurrent = this.#leases.isOfThisBoot(known) && known.netns === netns;
      if (isCurrent && checkPod(this.#host, place).length === 0) return attached(known);
      // Left by a crash, a reboot or somebody's hand: begin again.
      this.#forget(known);
    }
    const lease = this.#leases.acquire(sandboxId, netns, network.podCidrs);
    try {
      connectPod(this.#host, { lease, netns, bridge, mtuBytes: network.mtuBytes });
    } catch (error) {
      this.#forget(lease);
      throw error;
    }
    await this.#carrier(hostInterfaceOf(sandboxId), lease);
    return attached(lease);
  }

  /**
   * The kernel opens a new port a moment after both ends are up; a pod that is started before would lose its first packets.
   * The bridge itself follows its first port up to a second later, and IPv6 works on it only then.
   */
  async #carrier(port: string, lease: Lease): Promise<void> {
    const end = performance.now() + carrierMs;
    const awaited = lease.ips.some((ip) => familyOf(ip) !== AF_INET) ? [port, this.#options.bridge] : [port];
    const isOpen = (name: string): boolean => this.#host.getLink(name)?.operational !== false;
    while (!awaited.every(isOpen) && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 2));
  }

  async remove({ sandboxId }: { readonly sandboxId: string; readonly netns?: string | undefined }): Promise<void> {
    this.#host.deleteLink(hostInterfaceOf(sandboxId));
    this.#leases.release(sandboxId);
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
    const bridge = this.#bridge();
    if (bridge === undefined) return [`bridge ${this.#options.bridge} is missing`];
    const mtuBytes = this.#network?.mtuBytes ?? bridge.mtu;
    return checkPod(this.#host, { lease, netns, bridge, mtuBytes });
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
      this.#forget(lease);
      removed.push(lease.sandboxId);
    }
    // Ports of our bridge whose record is lost (a state folder that was deleted).
    const known = new Set(this.#leases.list().map(({ sandboxId }) => hostInterfaceOf(sandboxId)));
    for (const port of this.#ports()) if (!known.has(port.name)) this.#host.deleteLink(port.index);
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
      for (const lease of this.#leases.list()) this.#host.deleteLink(hostInterfaceOf(lease.sandboxId));
      for (const port of this.#ports()) this.#host.deleteLink(port.index);
      const bridge = this.#bridge();
      if (bridge !== undefined) this.#host.deleteLink(bridge.index);
      await this.#nft(renderRemovals());
      this.#restoreSettings();
      this.#leases.purge();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#unwatch();
    await this.#turn.catch(() => undefined);
    this.#host.close();
  }

  #configured(what: string): NodeNetwork {
    if (this.#network !== undefined) return this.#network;
    throw new PintleError('UNAVAILABLE', `${what}: the node's pod network is not configured yet; try again`);
  }

  #inTurn(act: () => Promise<void>): Promise<void> {
    const run = this.#turn.catch(() => undefined).then(act);
    this.#turn = run;
    return run;
  }

  #nft(text: string): Promise<void> {
    return nftTransaction(text, {
      netns: this.#options.netns,
      onPort: (port) => {
        this.#ownPorts.add(port);
        if (this.#ownPorts.size > 64) this.#ownPorts.delete([...this.#ownPorts][0] ?? port);
      },
    });
  }

  #forget(lease: Lease): void {
    this.#host.deleteLink(hostInterfaceOf(lease.sandboxId));
    this.#leases.release(lease.sandboxId);
  }

  #plug(port: Link, bridge: Link): void {
    this.#host.setLink(port.index, { master: bridge.index, up: true });
    this.#host.setLink(port.index, { hairpin: true });
  }

  /** Our bridge, or undefined. Throws when a link of its name is somebody else's. */
  #bridge(): Link | undefined {
    const { bridge: name } = this.#options;
    const link = this.#host.getLink(name);
    if (link === undefined || (link.kind === 'bridge' && link.mac === bridgeMacOf(name))) return link;
    throw new PintleError(
      'KERNEL_REFUSED',
      `Bridge ${name}: a link of this name exists and is not Pintle's (${link.kind ?? 'physical'}, ${link.mac}); ` +
        `delete it, or give attachment bridge another name in config.bridge`,
      { details: { errno: 'EEXIST', extack: '' } },
    );
  }

  #ports(): Link[] {
    const bridge = this.#bridge();
    if (bridge === undefined) return [];
    return this.#host.listLinks().filter(({ master, name }) => master === bridge.index && isHostInterface(name));
  }

  #ensureBridge(network: NodeNetwork): Link {
    const { bridge: name } = this.#options;
    let bridge = this.#bridge();
    const isNew = bridge === undefined;
    if (bridge === undefined) {
      this.#host.createBridge({ name, mac: bridgeMacOf(name) });
      bridge = this.#host.getLink(name);
    }
    if (bridge === undefined)
      throw new PintleError('KERNEL_REFUSED', `Bridge ${name} vanished while it was being set up`);
    if (bridge.mtu !== network.mtuBytes) this.#host.setLink(bridge.index, { mtu: network.mtuBytes });
    const wanted = network.podCidrs.map((range) => `${gatewayOf(range)}/${parseCidr(range).prefixLength}`);
    const present = this.#host
      .listAddresses({ index: bridge.index })
      .filter(({ scope }) => scope === 0)
      .map(({ address, prefixLength }) => `${address}/${prefixLength}`);
    for (const cidr of present) if (!wanted.includes(cidr)) this.#host.deleteAddress(bridge.index, cidr);
    for (const cidr of wanted)
      if (!present.includes(cidr)) this.#host.addAddress(bridge.index, cidr, { broadcast: true });
    if (!bridge.up) this.#host.setLink(bridge.index, { up: true });
    // The kernel asks for a forwarded packet's neighbour from a link-local address only, and the one that it makes up
    // itself is unusable for the seconds of duplicate detection.
    if (wanted.some((cidr) => parseCidr(cidr).family !== AF_INET))
      this.#host.addAddress(bridge.index, 'fe80::1/64', { scope: RT_SCOPE_LINK });
    writeSysctl(`net.ipv4.conf.${sysctlName(name)}.send_redirects`, 0, this.#options);
    if (isNew) {
      for (const lease of this.#leases.list()) {
        const port = this.#host.getLink(hostInterfaceOf(lease.sandboxId));
        if (port !== undefined) this.#plug(port, bridge);
      }
    }
    return bridge;
  }

  /**
   * The node routes for its pods. It must not tell a pod "ask your neighbour directly": packets of two pods on one bridge
   * enter and leave by the same interface, and a redirect would take them past the proxy.
   */
  #settings(network: NodeNetwork): void {
    if (readSysctl('net.ipv4.conf.all.send_redirects', this.#options) === '1') {
      mkdirSync(this.#options.stateDir, { recursive: true });
      writeFileSync(this.#redirectsRecord(), '1');
      writeSysctl('net.ipv4.conf.all.send_redirects', 0, this.#options);
    }
    writeSysctl('net.ipv4.ip_forward', 1, this.#options);
    if (network.podCidrs.some((range) => parseCidr(range).family !== AF_INET))
      writeSysctl('net.ipv6.conf.all.forwarding', 1, this.#options);
  }

  #redirectsRecord(): string {
    return join(this.#options.stateDir, 'send-redirects-was-on');
  }

  /** ip_forward stays: others (a container engine) may have come to rely on it. */
  #restoreSettings(): void {
    try {
      readFileSync(this.#redirectsRecord());
    } catch {
      return;
    }
    writeSysctl('net.ipv4.conf.all.send_redirects', 1, this.#options);
    rmSync(this.#redirectsRecord(), { force: true });
  }

  /**
   * No rule of our own table can let a packet through that another table's FORWARD policy drops (in nftables an accept
   * ends only its own table), and other programs' tables are not ours to touch: say so, with the cure.
   */
  async #lookAtForwarding(): Promise<void> {
    const chain = (await nftList(['chain', 'ip', 'filter', 'FORWARD'], this.#options).catch(() => undefined))
      ?.map((entry) => entry['chain'])
      .find((found) => found !== undefined);
    const before = this.#warning;
    this.#warning =
      chain?.['policy'] === 'drop'
        ? 'the FORWARD policy of table ip filter is DROP (Docker sets it): pods of this node reach nothing outside their ' +
          `bridge; cure: iptables -I DOCKER-USER -i ${this.#options.bridge} -j ACCEPT; iptables -I DOCKER-USER -o ${this.#options.bridge} -j ACCEPT`
        : undefined;
    if (this.#warning !== undefined && this.#warning !== before) this.#options.log.warn(this.#warning);
  }

  #watch(): void {
    if (this.#stops.length > 0) return;
    this.#stops.push(
      this.#host.subscribe((event) => {
        if (event.kind === 'overflow' || event.kind === 'address') return this.#scheduleRepair('links');
        if (event.kind !== 'link') return;
        if (event.link.name === this.#options.bridge || isHostInterface(event.link.name)) this.#scheduleRepair('links');
      }),
      monitorNft((change) => {
        if (change === 'overflow' || (change.table === tableName && !this.#ownPorts.has(change.port)))
          this.#scheduleRepair('masquerade');
        else if (change.table === 'filter') this.#scheduleRepair('forwarding');
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
      if (damaged.has('links')) this.#repairLinks(network);
      if (damaged.has('masquerade')) await this.#nft(renderMasquerade(network));
      if (damaged.has('forwarding') || damaged.has('masquerade')) await this.#lookAtForwarding();
    } catch (error) {
      for (const part of damaged) this.#damaged.add(part);
      throw error;
    }
  }

  #repairLinks(network: NodeNetwork): void {
    const bridge = this.#ensureBridge(network);
    const links = new Map(this.#host.listLinks().map((link) => [link.name, link]));
    for (const lease of this.#leases.list()) {
      const port = links.get(hostInterfaceOf(lease.sandboxId));
      if (port === undefined) {
        if (this.#leases.isOfThisBoot(lease) && isNetns(lease.netns))
          connectPod(this.#host, { lease, netns: lease.netns, bridge, mtuBytes: network.mtuBytes });
      } else if (port.master !== bridge.index || !port.up || port.hairpin !== true) this.#plug(port, bridge);
    }
  }
}

/** In names of settings a dot of the interface's name is written as a slash. */
function sysctlName(link: string): string {
  return link.replaceAll('.', '/');
}

function attached(lease: Lease): Attached {
  const { sandboxId, ips, gateways } = lease;
  return { sandboxId, interface: podInterface, mac: macOf(ips[0] ?? ''), ips, gateways };
}
