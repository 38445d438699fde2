/**
 * Overlay by flannel's UDP backend: the agent's part. Owns on the node: the TUN device with its address and routes, and the
 * process that carries the packets, which goes on while this one is dead. Listens to netlink, and puts right within moments
 * what somebody else deletes or changes; a process that died is started again.
 */
import { closeSync, rmSync, writeFileSync } from 'node:fs';
import {
  isPintleError,
  PintleError,
  type Joined,
  type LocalNode,
  type Overlay,
  type OverlayStatus,
  type Peer,
} from '../../../kernel/contract/index.ts';
import { AF_INET, AF_INET6, canonicalCidr } from '../../linux/ip-address.ts';
import { batchIoProblem } from '../../linux/batch-io.ts';
import { probeTunOffload } from '../../linux/probes.ts';
import { Audit } from '../../linux/overlay/audit.ts';
import { ensureAddress, ensureDelivery } from '../../linux/overlay/device-state.ts';
import { noPeers, peerStatus, selectPeers } from '../../linux/overlay/peers.ts';
import { applyChanges, byKernel, isAtHome, planRoutes, unicast } from '../../linux/overlay/planned-routes.ts';
import { mayMoveWays, wayTo, type LocalEnd, type PeerWay } from '../../linux/overlay/underlay.ts';
import { openRtnetlink, type Link, type RtEvent, type Rtnetlink } from '../../linux/rtnetlink.ts';
import { createTun, setTunOffloads, tunOffloads } from '../../linux/tun.ts';
import { announce, readUdpPeer, type UdpPeer } from './announcement.ts';
import { DataPathProcess } from './data-path-process.ts';
import { gatheringName, tunnelName } from './own-links.ts';
import { findPlace, type FlannelUdpOptions, type Place } from './place.ts';

export type { FlannelUdpOptions } from './place.ts';
import { mostThreads, type DataPathSettings } from './data-path-protocol.ts';
import type { Framing, PeerRoute } from './peer-table.ts';

/** Outer IPv4 (20) and UDP (8) header. */
export const overheadBytes = 28;
export const deviceName = 'flannel0';

const retryMs = 1_000;

export class FlannelUdpOverlay implements Overlay, AsyncDisposable {
  readonly #options: FlannelUdpOptions;
  readonly #links: Rtnetlink;
  readonly #audit: Audit;
  #place: Place | undefined;
  #peers = noPeers<UdpPeer>();
  /** Before and during a sync the data path is not told of peers by the audit. */
  #isSynced = false;
  /** What the data path was told of peers last. */
  #pushed = '';
  #process: DataPathProcess | undefined;
  /** Settles when the process that was started last serves and knows the peers. */
  #starting: Promise<void> | undefined;
  #launch: Promise<DataPathProcess> | undefined;
  #startFailure: string | undefined;
  /** Why path offload cannot be used; empty: it can. */
  #offloadProblem: string | undefined;
  #mtuBytes = 0;
  #device: number | undefined;
  /** By index of each link that leads to peers, as of the last look: its MTU. */
  #underlays: ReadonlyMap<number, number> = new Map();
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
    const place = this.#findPlace(local);
    this.#stop ??= this.#links.subscribe((event) => this.#onEvent(event));
    if (JSON.stringify(place.settings) !== JSON.stringify(this.#place?.settings)) await this.#takeOver(place.settings);
    this.#place = place;
    this.#reconcile();
    await this.#served();
    return {
      mtuBytes: this.#mtuBytes,
      annotations: this.#annotations(this.#place),
    };
  }

  #annotations({ end, overwrite }: Place): Readonly<Record<string, string>> {
    return announce(overwrite ?? end.address, {
      ipv6: true,
      framings: this.#framings(),
      ...(this.#process === undefined ? {} : { uses: this.#process.hello.features }),
    });
  }

  async sync(peers: readonly Peer[]): Promise<{ readonly changed: number }> {
    const place = this.#place;
    if (place === undefined)
      throw new PintleError('UNAVAILABLE', 'Overlay flannel-udp has not joined: expected join before sync');
    this.#peers = selectPeers<UdpPeer>(peers, {
      families: ([AF_INET, AF_INET6] as const).filter((family) =>
        place.ranges.some((range) => range.family === family),
      ),
      own: place.ranges.flatMap(({ podCidr, family }) => [
        claimOf(podCidr),
        `address ${place.end.address} (${family})`,
      ]),
      read: readUdpPeer,
      claims: ({ podCidr, publicIp, family }) => [claimOf(podCidr), `address ${publicIp} (${family})`],
    });
    this.#isSynced = false;
    const changed = this.#reconcile();
    await this.#served();
    const pushed = await this.#pushPeers();
    this.#isSynced = true;
    return { changed: changed + pushed };
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
      annotations: reason === undefined && this.#place !== undefined ? this.#annotations(this.#place) : undefined,
      uses: isServing ? this.#process?.hello.features : undefined,
    };
  }

  async counters(): Promise<Readonly<Record<string, number>> | undefined> {
    return (await this.#process?.ask({ verb: 'counters' }).catch(() => undefined)) as
      Readonly<Record<string, number>> | undefined;
  }

  async leave(): Promise<void> {
    this.#unsubscribe();
    this.#place = undefined;
    this.#peers = noPeers();
    this.#isSynced = false;
    this.#trouble = 'has left';
    await this.#starting?.catch(() => undefined);
    // Also a predecessor's. Address and routes go with the device, and that with the process.
    const process = this.#process ?? (await DataPathProcess.find(this.#options.stateDir));
    this.#process = undefined;
    // From here on nothing is carried, whatever time the kernel takes to remove what did.
    await process?.quiesce();
    // Next: while the kernel cleans up behind the process, it makes others wait that want anything of its devices.
    this.#detachLeftovers();
    this.#deleteDevice();
    await process?.stop();
    DataPathProcess.forget(this.#options.stateDir);
    if (this.#options.usesFile !== undefined) rmSync(this.#options.usesFile, { force: true });
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

  #findPlace(local: LocalNode): Place {
    return findPlace(this.#links, local, this.#options, { device: deviceName, ...this.#choosePath() });
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
    const { usesFile } = this.#options;
    try {
      if (usesFile !== undefined) writeFileSync(usesFile, `${JSON.stringify(process.hello.features)}\n`);
    } catch (error) {
      this.#options.log.warn('What the data path uses could not be noted', { error: String(error) });
    }
    void process.ended.then(() => {
      if (this.#process === process && !this.#closed && this.#place !== undefined) this.#audit.schedule();
    });
  }

  /** Resolves when the data path serves; throws why it does not. */
  async #served(): Promise<void> {
    await this.#starting;
  }

  #framings(): readonly Framing[] {
    if (this.#place?.settings.path !== 'offload') return ['plain'];
    // A translated address is put right by conntrack, which the shortcut goes past.
    const hasShortcut = this.#process?.hello.features['kernel'] === 'yes' && this.#place.overwrite === undefined;
    return ['plain', 'partial', 'super', ...(hasShortcut ? (['kernel'] as const) : [])];
  }

  /** By peer, the way to it and what travels there. */
  #peerRoutes(): readonly PeerRoute[] {
    const { end } = this.#place ?? {};
    if (end === undefined) return [];
    const routes = new Map<string, PeerRoute>();
    const ours = this.#framings();
    for (const peer of this.#peers.chosen) {
      const { name, podCidr, framings, addresses } = peer;
      const podCidrs = [...(routes.get(name)?.podCidrs ?? []), podCidr];
      // The last that both know is the fastest.
      const wanted = ours.filter((one) => this.#options.framing !== 'plain' || one !== 'super');
      const { address, route } = this.#wayTo(peer, end);
      // The shortcut leads through the link of the node's own address.
      const isDirect = route?.type === unicast && route.link === end.link.index;
      const framing =
        wanted.filter((one) => framings.includes(one) && (isDirect || one !== 'kernel')).at(-1) ?? 'plain';
      routes.set(name, { address, addresses, podCidrs, framing });
    }
    return [...routes.values()];
  }

  async #pushPeers(): Promise<number> {
    const process = this.#process;
    const peers = this.#peerRoutes();
    const answer = await process?.ask({ verb: 'peers', peers });
    this.#pushed = JSON.stringify(peers);
    return answer?.changed ?? 0;
  }

  /** A peer with several addresses may have come nearer by another of them. */
  #pushMovedPeers(): void {
    if (!this.#isSynced || this.#starting !== undefined || JSON.stringify(this.#peerRoutes()) === this.#pushed) return;
    this.#pushPeers().catch((error: unknown) => {
      this.#options.log.warn('Peers could not be told to the data path; trying again', { error: String(error) });
      if (!this.#closed && this.#place !== undefined) this.#audit.schedule(retryMs);
    });
  }

  #wayTo(peer: UdpPeer, end: LocalEnd): PeerWay {
    return wayTo(this.#links, peer, end, this.#options.underlay);
  }

  /** The smallest MTU of the links to peers, less what a datagram adds. */
  #look(end: LocalEnd): void {
    const { link, isBound } = end;
    const underlays = new Map([[link.index, link.mtu]]);
    for (const peer of isBound ? [] : this.#peers.chosen) {
      const { route } = this.#wayTo(peer, end);
      const index = route?.type === unicast ? route.link : undefined;
      if (index === undefined || index === this.#device || underlays.has(index)) continue;
      underlays.set(index, this.#links.getLink(index)?.mtu ?? link.mtu);
    }
    this.#underlays = underlays;
    this.#mtuBytes = Math.min(Math.min(...underlays.values()) - overheadBytes, this.#options.mtu ?? Infinity);
  }

  /** Where this node is now: its underlay address may have changed, and the data path is bound to it. */
  #moved(before: Place): Place {
    const place = this.#findPlace(before.local);
    this.#place = place;
    if (JSON.stringify(place.settings) === JSON.stringify(before.settings)) return place;
    // Without its device the process ends.
    this.#process?.disconnect();
    this.#process = undefined;
    this.#deleteDevice();
    return place;
  }

  /** Brings the kernel to the inventory. Returns the number of changes that were needed. */
  #reconcile(): number {
    const before = this.#place;
    if (before === undefined) return 0;
    try {
      const place = this.#moved(before);
      this.#look(place.end);
      const { device, changed } = this.#ensureProcess(place);
      this.#device = device.index;
      const done = changed + this.#ensureDevice(place, device);
      this.#pushMovedPeers();
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
    this.#detachLeftovers();
    const { stateDir, netns } = this.#options;
    const isOffload = place.settings.path === 'offload';
    const multiQueue = isOffload && mostThreads(place.settings.threads) > 1;
    const tun = createTun({ name: deviceName, netns, vnetHeader: isOffload, multiQueue });
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
      changed += ensureAddress(this.#links, index, family, wanted);
      if (wanted !== undefined) changed += ensureDelivery(this.#links, device, wanted, this.#options);
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
    // It goes with the process, but a moment later.
    for (const name of [gatheringName, tunnelName]) this.#links.deleteLink(name);
    // Also one that was given another name: its holder would keep the port.
    for (const known of [deviceName, this.#device]) {
      const device = known === undefined ? undefined : this.#links.getLink(known);
      if (device?.kind === 'tun') this.#links.deleteLink(device.index);
    }
    this.#device = undefined;
  }

  /** Where the kernel has no TCX, a process that was killed leaves its program on the underlay's link. */
  #detachLeftovers(): void {
    for (const { index } of this.#links.listLinks()) this.#links.detachProgram({ link: index, side: 'ingress' });
  }

  #onEvent(event: RtEvent): void {
    if (!this.#closed && this.#place !== undefined && this.#concerns(event, this.#place)) this.#audit.schedule();
  }

  #concerns(event: RtEvent, place: Place): boolean {
    const moves = mayMoveWays(event, {
      isUnderlay: (index) => this.#underlays.has(index),
      isAddress: (address) =>
        place.local.addresses.includes(address) ||
        this.#peers.chosen.some(({ addresses }) => addresses.includes(address)),
    });
    if (moves) return true;
    switch (event.kind) {
      case 'overflow':
        return true;
      case 'link':
        return event.link.name === deviceName || event.link.index === this.#device;
      case 'address':
        // Any may be the one that is missing.
        return event.address.index === this.#device || this.#trouble !== undefined;
      case 'route':
        return event.route.link === this.#device || place.clusterCidrs.includes(event.route.destination);
      case 'setting':
        return event.link === this.#device;
      case 'neighbour':
      case 'fdb':
      case 'port':
        return false;
    }
  }
}

function claimOf(podCidr: string): string {
  return `pod range ${canonicalCidr(podCidr)}`;
}
