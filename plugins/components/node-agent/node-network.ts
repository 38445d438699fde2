/**
 * Brings the node into the pod network: waits for its pod ranges, joins the overlay, publishes what peers need, prepares
 * the attachment, and keeps the overlay's peers equal to the other nodes.
 */
import type { Node } from '../../../kernel/contract/kubernetes.ts';
import {
  isPintleError,
  type Attachment,
  type Clock,
  type Cluster,
  type Logger,
  type Overlay,
  type Peer,
} from '../../../kernel/contract/index.ts';
import { pause } from '../../../kernel/machinery/clock.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import type { NodeAddresses } from './node-addresses.ts';
import type { Informer } from '../../../kernel/machinery/informer.ts';

const waitsForRange = 'waiting for a pod CIDR (controller node-ipam assigns one)';
const lookMs = 1_000;
/** In a large cluster changes of peers are taken up together, so that a thousand nodes that join are not a thousand syncs of all. */
const largeCluster = 50;
const paceMsPerNode = 2;
const maxPaceMs = 5_000;

export interface NetworkServices {
  readonly cluster: Cluster;
  readonly overlay: Overlay;
  readonly attachment: Attachment;
  /** This node alone. */
  readonly self: Informer<Node>;
  /** All nodes, with `peerFields` at least. */
  readonly peers: Informer<Node>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Called when readiness may have changed. */
  changed(): void;
}

export interface NetworkSettings {
  readonly nodeName: string;
  readonly addresses: NodeAddresses;
  readonly clusterCidrs: readonly string[];
}

export function podCidrsOf(node: Node | undefined): readonly string[] {
  // Of a node that is read by `peerFields` there is no spec before it has a range.
  const spec: Node['spec'] | undefined = node?.spec;
  return spec?.podCIDRs ?? (spec?.podCIDR ? [spec.podCIDR] : []);
}

/** All of a Node that other nodes need, and all that a node follows of others. */
export const peerFields = ['metadata.annotations', 'spec.podCIDR', 'spec.podCIDRs', 'status.addresses'];

export function peerOf(node: Node): Peer {
  return {
    name: node.metadata.name,
    podCidrs: podCidrsOf(node),
    addresses: (node.status?.addresses ?? []).filter((each) => each.type === 'InternalIP').map((each) => each.address),
    annotations: node.metadata.annotations ?? {},
  };
}

/** A node's heartbeats change nothing that the network is made from. Called for each event of each node: nothing is made. */
export function isSamePeer(a: Node, b: Node): boolean {
  const [was, is] = [a.metadata.annotations ?? {}, b.metadata.annotations ?? {}];
  for (const name in was) if (was[name] !== is[name]) return false;
  for (const name in is) if (was[name] === undefined) return false;
  return isSameList(podCidrsOf(a), podCidrsOf(b)) && hasSameInternalAddresses(a, b);
}

function isSameList(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((each, at) => each === other[at]);
}

function hasSameInternalAddresses(a: Node, b: Node): boolean {
  const [was, is] = [a.status?.addresses ?? [], b.status?.addresses ?? []];
  const isSame =
    was.length === is.length &&
    was.every(({ type, address }, at) => address === is[at]!.address && type === is[at]!.type);
  return isSame || isSameList(peerOf(a).addresses, peerOf(b).addresses);
}

export class NodeNetwork {
  readonly #settings: NetworkSettings;
  readonly #services: NetworkServices;
  #problem: string | undefined = waitsForRange;
  #joined = '';
  /** What the attachment was configured with. */
  #mtuBytes = 0;
  #annotations: Readonly<Record<string, string>> = {};
  #wake: () => void = () => {};

  constructor(settings: NetworkSettings, services: NetworkServices) {
    this.#settings = settings;
    this.#services = services;
  }

  /** Why pods cannot be connected; undefined when they can. */
  problem(): string | undefined {
    if (this.#problem !== undefined) return this.#problem;
    const attachment = this.#services.attachment.status();
    return attachment.ready ? undefined : (attachment.reason ?? 'the attachment is not ready');
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, log, self, peers } = this.#services;
    // Before all are known, peers that are there would look gone.
    await peers.synced(signal).catch((error: unknown) => {
      if (!signal.aborted) throw error;
    });
    let isDirty = true;
    const stops = [self, peers].map((nodes) =>
      nodes.onChange(({ object, previous }) => {
        if (object !== undefined && previous !== undefined && isSamePeer(object, previous)) return;
        isDirty = true;
        this.#wake();
      }),
    );
    signal.addEventListener('abort', () => this.#wake(), { once: true });
    // The underlay's MTU and addresses may change at any time, and the overlay follows them by itself.
    const look = setInterval(() => {
      const isElsewhere = this.#settings.addresses.refresh();
      if (isElsewhere) this.#services.changed();
      if (!isElsewhere && !this.#hasMoved()) return;
      isDirty = true;
      this.#wake();
    }, lookMs);
    look.unref();
    for (let delayMs = 200; !signal.aborted;) {
      if (!isDirty) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
          if (isDirty || signal.aborted) resolve();
        });
        continue;
      }
      isDirty = false;
      try {
        await this.#step();
        delayMs = 200;
        await this.#pace(signal);
      } catch (error) {
        isDirty = true;
        this.#setProblem(error instanceof Error ? error.message : String(error));
        log.warn('network set-up failed, will be retried', { error: this.#problem });
        await pause(clock, delayMs, signal);
        delayMs = Math.min(delayMs * 2, 10_000);
      }
    }
    clearInterval(look);
    for (const stop of stops) stop();
  }

  /** Whether the overlay stands otherwise than the pods and the other nodes were told. */
  #hasMoved(): boolean {
    if (this.#mtuBytes === 0) return false;
    const { mtuBytes, annotations = {} } = this.#services.overlay.status();
    return (
      mtuBytes !== this.#mtuBytes ||
      Object.entries(annotations).some(([name, value]) => this.#annotations[name] !== value)
    );
  }

  /** A node that is not in the network yet loses no time. */
  async #pace(signal: AbortSignal): Promise<void> {
    const count = this.#services.peers.list().length;
    if (count < largeCluster || this.#problem !== undefined) return;
    await pause(this.#services.clock, Math.min(count * paceMsPerNode, maxPaceMs), signal);
  }

  #setProblem(problem: string | undefined): void {
    if (problem === this.#problem) return;
    this.#problem = problem;
    this.#services.changed();
  }

  async #step(): Promise<void> {
    const { overlay, attachment } = this.#services;
    const { nodeName, addresses, clusterCidrs } = this.#settings;
    const self = this.#services.self.get(nodeName);
    const podCidrs = podCidrsOf(self);
    if (!self || podCidrs.length === 0) {
      this.#setProblem(waitsForRange);
      return;
    }
    const annotations = othersOf(self.metadata.annotations ?? {}, this.#annotations);
    const local = { name: nodeName, podCidrs, clusterCidrs, addresses: addresses.current, annotations };
    const key = JSON.stringify(local);
    if (key !== this.#joined) {
      const joined = await overlay.join(local);
      this.#annotations = joined.annotations;
      // Without what has just become the overlay's own.
      this.#joined = JSON.stringify({ ...local, annotations: othersOf(annotations, this.#annotations) });
      this.#mtuBytes = 0;
    }
    const { mtuBytes, annotations: now } = overlay.status();
    this.#annotations = now ?? this.#annotations;
    if (mtuBytes > 0 && mtuBytes !== this.#mtuBytes) {
      await attachment.configure({ podCidrs, clusterCidrs, mtuBytes });
      this.#mtuBytes = mtuBytes;
    }
    await this.#publish(self);
    const peers = this.#services.peers
      .list()
      .filter((node) => node.metadata.name !== nodeName && podCidrsOf(node).length > 0)
      .sort((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))
      .map(peerOf);
    await overlay.sync(peers);
    this.#setProblem(undefined);
  }

  async #publish(self: Node): Promise<void> {
    const annotations = this.#annotations;
    const known = self.metadata.annotations ?? {};
    if (Object.entries(annotations).every(([name, value]) => known[name] === value)) return;
    try {
      await this.#services.cluster.patch(
        resources.nodes,
        { name: self.metadata.name },
        { kind: 'merge', body: { metadata: { annotations } } },
      );
    } catch (error) {
      if (!isPintleError(error, 'NOT_FOUND')) throw error;
    }
  }
}

/** Annotations that somebody else wrote: an overlay may read them, and must not read itself. */
function othersOf(
  annotations: Readonly<Record<string, string>>,
  own: Readonly<Record<string, string>>,
): Readonly<Record<string, string>> {
  const others = Object.entries(annotations).filter(([name]) => own[name] === undefined);
  return Object.fromEntries(others.sort(([a], [b]) => (a < b ? -1 : 1)));
}
