/**
 * Overlay by flannel's UDP backend: the agent's part. Owns on the node: the TUN device with its address and routes, and the
 * process that carries the packets, which goes on while this one is dead. Listens to netlink, and puts right within moments
 * what somebody else deletes or changes; a process that died is started again.
 */
import { closeSync } from 'node:fs';
import {
  isPintleError,
  PintleError,
  type Joined,
  type LocalNode,
  type Logger,
  type Overlay,
  type OverlayStatus,
  type Peer,
} from '../../../kernel/contract/index.ts';
import { isIPv4 } from 'node:net';
import { AF_INET, AF_INET6, canonicalCidr, canonicalIp, networkAddress, parseCidr } from '../../linux/ip-address.ts';
import { batchIoProblem } from '../../linux/batch-io.ts';
import { probeTunOffload } from '../../linux/probes.ts';
import { Audit } from '../../linux/overlay/audit.ts';
import type { Family } from '../../linux/overlay/flannel-annotations.ts';
import { noPeers, peerStatus, selectPeers } from '../../linux/overlay/peers.ts';
import { applyChanges, isAtHome, planRoutes, unicast } from '../../linux/overlay/planned-routes.ts';
import { underlayOf } from '../../linux/overlay/underlay.ts';
import { openRtnetlink, type Link, type RtEvent, type Rtnetlink } from '../../linux/rtnetlink.ts';
import { createTun, setTunOffloads, tunOffloads } from '../../linux/tun.ts';
import { announce, readUdpPeer, type UdpPeer } from './announcement.ts';
import { DataPathProcess } from './data-path-process.ts';
import { protocolVersion, type DataPathSettings } from './data-path-protocol.ts';
import type { Framing, PeerRoute } from './peer-table.ts';

export interface FlannelUdpOptions {
  readonly port: number;
  readonly path: 'dgram' | 'offload';
  readonly inject: 'auto' | 'raw-socket' | 'tun';
  /** Of path offload: `plain` sends nothing but plain inner packets, each a datagram. */
  readonly framing: 'auto' | 'plain';
  readonly threads: 1 | 2;
  readonly udpSegment: boolean;
  readonly udpGro: boolean;
  readonly checkSource: boolean;
  /** No more than this, whatever the underlay allows. */
  readonly mtu?: number | undefined;
  /** Where the data path's process is found. */
  readonly stateDir: string;
  readonly log: Logger;
  readonly netns?: string | undefined;
}

/** Outer IPv4 (20) and UDP (8) header. */
export const overheadBytes = 28;
export const deviceName = 'flannel0';

/** RTPROT_KERNEL: routes that the kernel keeps by itself. */
const byKernel = 2;

const retryMs = 1_000;

interface Range {
  readonly family: Family;
  readonly podCidr: string;
  /** The first address of the pod range, of the device: the node's own packets into the overlay come from it. */
  readonly deviceCidr: string;
}

interface Place {
  readonly local: string;
  readonly ranges: readonly Range[];
  /** All that goes into the device: what no peer has is answered by the data path. */
  readonly clusterCidrs: readonly string[];
  readonly settings: DataPathSettings;
}

export class FlannelUdpOverlay implements Overlay, AsyncDisposable {
  readonly #options: FlannelUdpOptions;
  readonly #links: Rtnetlink;
  readonly #audit: Audit;
  #place: Place | undefined;
  #peers = noPeers<UdpPeer>();
  #process: DataPathProcess | undefined;
  /** Settles when the process that was started last serves and knows the peers. */
  #starting: Promise<void> | undefined;
  #launch: Promise<DataPathProcess> | undefined;
  #startFailure: string | undefined;
  /** Why path offload cannot be used; empty: it can. */
  #offloadProblem: string | undefined;
  #mtuBytes = 0;
  #device: number | undefined;
  #underlay: number | undefined;
  #trouble: string | undefined = 'not joined yet';
  #stop: (() => void) | undefined;
  #closed = false;

  constructor(options: FlannelUdpOptions) {
    this.#options = options;
    this.#links = openRtnetlink({ netns: options.netns });
    this.#audit = new Audit({
      reconcile: () => this.#reconcile(),
      failed: (reason) => (this.#trouble = reason),
      log: options.log,
    });
  }

  async join(local: LocalNode): Promise<Joined> {
    const place = this.#placeOf(local);
    this.#stop ??= this.#links.subscribe((event) => this.#onEvent(event));
    if (JSON.stringify(place.settings) !== JSON.stringify(this.#place?.settings)) await this.#takeOver(place.settings);
    this.#place = place;
    this.#reconcile();
    await this.#served();
    return {
      mtuBytes: this.#mtuBytes,
      annotations: announce(place.local, {
        ipv6: true,
        framings: this.#framings(),
        ...(this.#process === undefined ? {} : { uses: this.#process.hello.features }),
      }),
    };
  }

  async sync(peers: readonly Peer[]): Promise<{ readonly changed: number }> {
    const place = this.#place;
    if (place === undefined)
      throw new PintleError('UNAVAILABLE', 'Overlay flannel-udp has not joined: expected join before sync');
    this.#peers = selectPeers<UdpPeer>(peers, {
      families: ([AF_INET, AF_INET6] as const).filter((family) =>
        place.ranges.some((range) => range.family === family),
      ),
      own: place.ranges.flatMap(({ podCidr, family }) => [claimOf(podCidr), `address ${place.local} (${family})`]),
      read: readUdpPeer,
      claims: ({ podCidr, publicIp, family }) => [claimOf(podCidr), `address ${publicIp} (${family})`],
    });
    const changed = this.#reconcile();
    await this.#served();
    return { changed: changed + (await this.#pushPeers()) };
  }

  status(): OverlayStatus {
    const isServing = this.#process !== undefined && !this.#process.isOver;
    const reason = this.#trouble ?? (isServing ? undefined : (this.#startFailure ?? 'the data path is being started'));
    return {
      ready: reason === undefined,
      reason,
      mtuBytes: this.#mtuBytes,
      peers: peerStatus(this.#peers),
      repairs: this.#audit.repairs,
    };
  }

  async leave(): Promise<void> {
    this.#unsubscribe();
    this.#place = undefined;
    this.#peers = noPeers();
    this.#trouble = 'has left';
    await this.#starting?.catch(() => undefined);
    // Also a predecessor's. Address and routes go with the device, and that with the process.
    const process = this.#process ?? (await DataPathProcess.find(this.#options.stateDir));
    this.#process = undefined;
    await process?.stop();
    DataPathProcess.forget(this.#options.stateDir);
    this.#deleteDevice();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#unsubscribe();
    await this.#starting?.catch(() => undefined);
    this.#process?.disconnect();
    this.#links.close();
  }

  #unsubscribe(): void {
    this.#audit.stop();
    this.#stop?.();
    this.#stop = undefined;
  }

  #placeOf({ name, podCidrs, clusterCidrs, addresses }: LocalNode): Place {
    const { port, inject, threads, udpSegment, udpGro, checkSource } = this.#options;
    if (podCidrs.length === 0)
      throw new PintleError('INVALID', `Node ${name} joins overlay flannel-udp without a pod range; expected one`);
    const local = addresses.find((address) => isIPv4(address));
    if (local === undefined)
      throw new PintleError(
        'UNSUPPORTED',
        `Node ${name} has no IPv4 underlay address (${addresses.join(', ')}), which overlay flannel-udp needs; ` +
          'give it one, or use an overlay with IPv6 underlays (vxlan, host-gw)',
      );
    const ranges = podCidrs.map((text): Range => {
      const cidr = parseCidr(text);
      const deviceCidr = `${networkAddress(cidr)}/${cidr.family === AF_INET ? 32 : 128}`;
      return { family: cidr.family, podCidr: canonicalCidr(text), deviceCidr };
    });
    const families = new Set(ranges.map(({ family }) => family));
    return {
      local: canonicalIp(local),
      ranges,
      clusterCidrs: clusterCidrs.map(canonicalCidr).filter((cidr) => families.has(parseCidr(cidr).family)),
      settings: {
        version: protocolVersion,
        device: deviceName,
        ...this.#choosePath(),
        local: canonicalIp(local),
        port,
        sources: ranges.map(({ deviceCidr }) => parseCidr(deviceCidr).address),
        inject,
        threads,
        udpSegment,
        udpGro,
        checkSource,
      },
    };
  }

  #choosePath(): { readonly path: 'dgram' | 'offload'; readonly fallback?: string } {
    if (this.#options.path === 'dgram') return { path: 'dgram' };
    this.#offloadProblem ??= batchIoProblem() ?? probeTunOffload() ?? '';
    return this.#offloadProblem === '' ? { path: 'offload' } : { path: 'dgram', fallback: this.#offloadProblem };
  }

  /** Finds what a predecessor left: kept when it has the same settings, ended when not. */
  async #takeOver(settings: DataPathSettings): Promise<void> {
    await this.#starting?.catch(() => undefined);
    const found = this.#process ?? (await DataPathProcess.find(this.#options.stateDir));
    this.#process = undefined;
    if (found === undefined) return;
    if (JSON.stringify(found.hello.settings) === JSON.stringify(settings)) this.#adopt(found);
    else await found.stop();
  }

  #adopt(process: DataPathProcess): void {
    this.#process = process;
    void process.ended.then(() => {
      if (this.#process === process && !this.#closed && this.#place !== undefined) this.#audit.schedule();
    });
  }

  /** Resolves when the data path serves; throws why it does not. */
  async #served(): Promise<void> {
    await this.#starting;
  }

  #framings(): readonly Framing[] {
    return this.#place?.settings.path === 'offload' ? ['plain', 'partial', 'super'] : ['plain'];
  }

  async #pushPeers(): Promise<number> {
    const peers = this.#peers.chosen;
    const routes = new Map<string, PeerRoute>();
    const ours = this.#framings();
    for (const { name, publicIp, podCidr, framings } of peers) {
      const podCidrs = [...(routes.get(name)?.podCidrs ?? []), podCidr];
      // The last that both know is the fastest.
      const wanted = ours.filter((one) => this.#options.framing === 'auto' || one !== 'super');
      const framing = wanted.filter((one) => framings.includes(one)).at(-1) ?? 'plain';
      routes.set(name, { address: publicIp, podCidrs, framing });
    }
    const answer = await this.#process?.ask({ verb: 'peers', peers: [...routes.values()] });
    return answer?.changed ?? 0;
  }

  /** Brings the kernel to the inventory. Returns the number of changes that were needed. */
  #reconcile(): number {
    const place = this.#place;
    if (place === undefined) return 0;
    try {
      const underlay = underlayOf(this.#links, place.local, 'flannel-udp');
      this.#underlay = underlay.index;
      this.#mtuBytes = Math.min(underlay.mtu - overheadBytes, this.#options.mtu ?? Infinity);
      const { device, changed } = this.#ensureProcess(place);
      this.#device = device.index;
      const done = changed + this.#ensureDevice(place, device);
      this.#trouble = undefined;
      return done;
    } catch (error) {
      this.#trouble = isPintleError(error) ? error.message : String(error);
      throw error;
    }
  }

  /** A device and a process that holds it: one without the other is of no use. */
  #ensureProcess(place: Place): { readonly device: Link; readonly changed: number } {
    const found = this.#links.getLink(deviceName);
    const isAlive = this.#starting !== undefined || (this.#process !== undefined && !this.#process.isOver);
    if (found !== undefined && isAlive) return { device: found, changed: 0 };
    // A process without its device ends by itself; a device without a process that answers is deleted, which ends its holder.
    this.#process = undefined;
    this.#deleteDevice();
    const { stateDir, netns } = this.#options;
    const isOffload = place.settings.path === 'offload';
    const tun = createTun({ name: deviceName, netns, vnetHeader: isOffload });
    if (isOffload) setTunOffloads(tun, tunOffloads.checksum | tunOffloads.tso4 | tunOffloads.tso6);
    try {
      const device = this.#links.getLink(deviceName);
      if (device === undefined)
        throw new PintleError('KERNEL_REFUSED', `Device ${deviceName} vanished while it was being set up`);
      this.#follow(
        DataPathProcess.start({ folder: stateDir, settings: place.settings, tun, link: device.index, netns }),
      );
      return { device, changed: 1 };
    } finally {
      closeSync(tun);
    }
  }

  #follow(starting: Promise<DataPathProcess>): void {
    const isLast = (): boolean => this.#launch === starting;
    this.#launch = starting;
    this.#starting = this.#adoptWhenServing(starting, isLast).finally(() => {
      if (isLast()) this.#starting = undefined;
    });
    this.#starting.catch(() => undefined);
  }

  /** Unless another has been started meanwhile. */
  async #adoptWhenServing(starting: Promise<DataPathProcess>, isLast: () => boolean): Promise<void> {
    try {
      const process = await starting;
      if (!isLast()) return process.disconnect();
      this.#startFailure = undefined;
      this.#adopt(process);
      await this.#pushPeers();
      this.#options.log.info('Data path of overlay flannel-udp started', process.hello.features);
    } catch (error) {
      if (!isLast()) return;
      this.#startFailure = isPintleError(error) ? error.message : String(error);
      if (!this.#closed && this.#place !== undefined) this.#audit.schedule(retryMs);
      throw error;
    }
  }

  /** MTU, address and routes of the device. */
  #ensureDevice({ ranges, clusterCidrs }: Place, device: Link): number {
    const { index } = device;
    let changed = 0;
    if (device.mtu !== this.#mtuBytes || !device.up) {
      this.#links.setLink(index, { mtu: this.#mtuBytes, up: true });
      changed += 1;
    }
    for (const family of [AF_INET, AF_INET6] as const) {
      const wanted = ranges.find((range) => range.family === family)?.deviceCidr;
      let isThere = wanted === undefined;
      for (const { address, prefixLength, scope } of this.#links.listAddresses({ index, family })) {
        const cidr = `${address}/${prefixLength}`;
        if (cidr === wanted) isThere = true;
        else if (scope === 0 && this.#links.deleteAddress(index, cidr)) changed += 1;
      }
      if (!isThere && wanted !== undefined && this.#links.addAddress(index, wanted)) changed += 1;
    }
    const wanted = clusterCidrs.map((destination) => ({ destination, link: index }));
    const destinations = new Set(clusterCidrs);
    const found = this.#links
      .listRoutes()
      .filter((route) => route.protocol !== byKernel && route.type === unicast)
      .filter((route) => route.link === index || (destinations.has(route.destination) && isAtHome(route)));
    const { removals, additions } = planRoutes(wanted, found);
    return changed + applyChanges(this.#links, [...removals, ...additions]);
  }

  #deleteDevice(): void {
    const device = this.#links.getLink(deviceName);
    if (device?.kind === 'tun') this.#links.deleteLink(device.index);
    this.#device = undefined;
  }

  #onEvent(event: RtEvent): void {
    if (!this.#closed && this.#place !== undefined && this.#concerns(event, this.#place)) this.#audit.schedule();
  }

  #concerns(event: RtEvent, place: Place): boolean {
    switch (event.kind) {
      case 'overflow':
        return true;
      case 'link':
        return event.link.name === deviceName || event.link.index === this.#underlay;
      case 'address':
        return event.address.index === this.#device || event.address.address === place.local;
      case 'route':
        return event.route.link === this.#device || place.clusterCidrs.includes(event.route.destination);
      case 'neighbour':
      case 'fdb':
        return false;
    }
  }
}

function claimOf(podCidr: string): string {
  return `pod range ${canonicalCidr(podCidr)}`;
}
