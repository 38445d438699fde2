/** One cell of the net suite on real packets: two nodes, three pods, an overlay and an attachment, or a baseline. */
import type { OverlayStatus } from '../../../kernel/contract/index.ts';
import { Node } from '../../bed/node.ts';
import { processesIn, residentBytesOf } from '../../bed/processes.ts';
import { Pod } from '../../bed/pod.ts';
import type { Place } from '../../bed/place.ts';
import type { PluginChoice, PluginSource } from '../../bed/plugin-process.ts';
import { leftovers, tracesOf } from '../../bed/traces.ts';
import { type Family, Wire } from '../../bed/wire.ts';
import type { Fact } from '../../method/result.ts';
import { type Bed, check, type Check, type Recorder, type Size } from '../../method/suite.ts';
import { echoPort, efforts, measureAcross, measureCut, measureSame, pause, type Pair } from './traffic.ts';

export interface NetCell {
  readonly family: Family;
  readonly hasOffloads: boolean;
  readonly size: Size;
}

export interface Pods {
  readonly client: Pod;
  readonly remote: Pod;
  /** On the client's node; undefined: there is no node between. */
  readonly neighbour: Pod | undefined;
}

const bulkBytes = 1_000_000;
/** Of IPv4 or IPv6 and UDP. */
const headerBytes = { ipv4: 28, ipv6: 48 } as const;

export abstract class NetBed implements Bed {
  protected readonly cell: NetCell;
  protected abstract readonly pods: Pods;

  constructor(cell: NetCell) {
    this.cell = cell;
  }

  protected ip(pod: Pod): string {
    const isSix = this.cell.family === 'ipv6';
    return pod.ips.find((ip) => ip.includes(':') === isSix) ?? '';
  }

  protected pair(server: Pod): Pair {
    return { client: this.pods.client, server, host: this.ip(server), isSix: this.cell.family === 'ipv6' };
  }

  async check(): Promise<readonly Check[]> {
    const { client, remote, neighbour } = this.pods;
    for (const pod of [client, remote, neighbour]) await pod?.serve(echoPort);
    const target = (pod: Pod) => ({ host: this.ip(pod), port: echoPort });
    // First these two: a network may learn of its members a moment after they are there (a swarm's by gossip).
    const thereAndBack = [
      check('bytes across nodes come back unchanged', await client.bulkOnceReached(target(remote), bulkBytes)),
      check('and from the other side', await remote.bulkOnceReached(target(client), bulkBytes)),
    ];
    const mtu = podMtu(client.place);
    const whole = mtu - headerBytes[this.cell.family];
    const fragments = fragmentsOf(client.place);
    const hasPassed = await client.datagram(target(remote), whole);
    const cut = fragmentsOf(client.place);
    const seen = await client.whoami({ host: this.ip(remote), port: echoPort + 1 });
    const expected = `${remote.place.name} ${this.ip(client)}`;
    return [
      ...thereAndBack,
      check(
        `a datagram of the MTU (${mtu}) passes whole`,
        hasPassed && cut === fragments,
        hasPassed
          ? cut === fragments
            ? ''
            : `it was cut: fragments ${fragments} before, ${cut} after`
          : 'none came back',
      ),
      check(
        "the right pod sees the client's own address",
        seen === expected,
        seen === expected ? '' : `${seen}, expected ${expected}`,
      ),
      ...(neighbour === undefined
        ? []
        : [check('bytes on the same node come back unchanged', await client.bulk(target(neighbour), bulkBytes))]),
      ...(await this.ownChecks()),
    ];
  }

  async measure(record: Recorder, signal: AbortSignal): Promise<void> {
    const { remote, neighbour } = this.pods;
    const effort = efforts[this.cell.size];
    await measureAcross(this.pair(remote), this.agents(), effort, record, signal);
    if (neighbour !== undefined) await measureSame(this.pair(neighbour), effort, record, signal);
    if (effort.hasCutStream && this.cell.hasOffloads)
      await measureCut(this.pair(remote), effort, record, signal, () => this.cutInSoftware());
    await this.measureOwn(record, signal);
  }

  facts(): Readonly<Record<string, Fact>> {
    return { podMtuBytes: podMtu(this.pods.client.place), family: this.cell.family, offloads: this.cell.hasOffloads };
  }

  protected ownChecks(): Promise<readonly Check[]> {
    return Promise.resolve([]);
  }
  /** Nodes with an agent. */
  protected agents(): readonly Place[] {
    return [];
  }
  /** As of network cards without transmit offloads. */
  protected abstract cutInSoftware(): void;
  protected measureOwn(_record: Recorder, _signal: AbortSignal): Promise<void> {
    return Promise.resolve();
  }
  abstract close(): Promise<readonly string[]>;
}

/**
 * Packets that this namespace had to cut, of both families: none, where the MTU is what really passes. Only these two
 * numbers: both tables get lines of their own for each type of ICMP message when the first one is seen.
 */
function fragmentsOf(pod: Place): string {
  const tables = pod.runNow('cat', ['/proc/net/snmp', '/proc/net/snmp6']).stdout;
  const [head = [], values = []] = [...tables.matchAll(/^Ip: (.*)$/gm)].map((match) => match[1]!.split(' '));
  const four = values[head.indexOf('FragCreates')] ?? '?';
  return `${four} of IPv4, ${/^Ip6FragCreates\s+(\d+)$/m.exec(tables)?.[1] ?? '?'} of IPv6`;
}

/** Of all that runs on a node: its agent, and a data path that is a process of its own. */
export const memoryOf = ({ netns }: Place): number =>
  processesIn(netns).reduce((sum, pid) => sum + residentBytesOf(pid), 0) / 2 ** 20;

const podMtu = (pod: Place): number => pod.links((links) => links.getLink('eth0')?.mtu ?? Number.NaN);

/** Pod, node, wire, node, pod by plain routes: the way that every overlay adds to. */
export class RoutedBed extends NetBed {
  readonly #wire = new Wire(2);
  protected readonly pods: Pods;

  constructor(cell: NetCell) {
    super(cell);
    this.#wire.routeBetweenNodes();
    const pod = (node: number, name: string, number: number): Pod => {
      const { place, ips } = this.#wire.routedPod(node, name, number);
      return new Pod(place, ips);
    };
    this.pods = { client: pod(0, 'client', 2), remote: pod(1, 'remote', 2), neighbour: pod(0, 'neighbour', 3) };
    if (!cell.hasOffloads) this.cutInSoftware();
  }

  protected override cutInSoftware(): void {
    this.#wire.disableOffloads(Object.values(this.pods).map(({ place }) => place));
  }

  async close(): Promise<readonly string[]> {
    await this.#wire.close();
    return [];
  }
}

/** Two namespaces and one veth pair between them: what the generators reach on this machine. */
export class VethBed extends NetBed {
  readonly #wire = new Wire(0);
  protected readonly pods: Pods;

  constructor(cell: NetCell) {
    super(cell);
    const [client, remote] = [this.#wire.pod('client'), this.#wire.pod('remote')];
    client.links((links) => links.createVeth({ name: 'eth0', up: true, peer: { name: 'eth0', netns: remote.netns } }));
    const made = [client, remote].map((place, index) => {
      const ips = [`10.244.1.${index + 1}`, `fd44:0:0:1::${index + 1}`];
      place.links((links) => {
        const eth0 = links.getLink('eth0')!.index;
        links.setLink(eth0, { up: true });
        links.addAddress(eth0, `${ips[0]}/24`);
        links.addAddress(eth0, `${ips[1]}/64`);
      });
      return new Pod(place, ips);
    });
    this.pods = { client: made[0]!, remote: made[1]!, neighbour: undefined };
    if (!cell.hasOffloads) this.cutInSoftware();
  }

  protected override cutInSoftware(): void {
    this.#wire.disableOffloads([this.pods.client.place, this.pods.remote.place]);
  }

  async close(): Promise<readonly string[]> {
    await this.#wire.close();
    return [];
  }
}

export interface OverlayChoice {
  readonly overlay: PluginChoice;
  readonly attachment: PluginChoice;
  readonly source: PluginSource;
}

const probesPerSecond = 500;
const recoveryLimitMs = 10_000;
/** Bytes have passed by then; what it says of itself may come a moment later. */
const readyMs = 5_000;

export class OverlayBed extends NetBed {
  readonly #wire: Wire;
  readonly #nodes: readonly Node[];
  readonly #before: readonly ReadonlySet<string>[];
  #pods: Pods | undefined;

  private constructor(cell: NetCell, choice: OverlayChoice) {
    super(cell);
    this.#wire = new Wire(2);
    this.#before = this.#wire.nodes.map(tracesOf);
    const families: readonly Family[] = cell.family === 'ipv6' ? ['ipv4', 'ipv6'] : ['ipv4'];
    this.#nodes = this.#wire.nodes.map(
      (place, index) => new Node(place, index, { ...choice, families, folder: this.#wire.places.folder }),
    );
  }

  static async open(cell: NetCell, choice: OverlayChoice): Promise<OverlayBed> {
    const bed = new OverlayBed(cell, choice);
    try {
      await bed.#start();
      return bed;
    } catch (error) {
      await bed.#wire.close();
      throw error;
    }
  }

  protected get pods(): Pods {
    if (this.#pods === undefined) throw new Error('the pods are not attached yet');
    return this.#pods;
  }

  async #start(): Promise<void> {
    const [one, two] = this.#nodes as [Node, Node];
    await Promise.all([one.start(), two.start()]);
    await Promise.all([one.sync([two.peer]), two.sync([one.peer])]);
    const names = ['client', 'remote', 'neighbour'] as const;
    const places = names.map((name) => this.#wire.pod(name));
    const [client, remote, neighbour] = (await Promise.all(
      places.map((place, index) => (index === 1 ? two : one).attach(place)),
    )) as [Pod, Pod, Pod];
    this.#pods = { client, remote, neighbour };
    if (!this.cell.hasOffloads) this.cutInSoftware();
  }

  protected override cutInSoftware(): void {
    this.#wire.disableOffloads(Object.values(this.pods).map(({ place }) => place));
  }

  protected override async ownChecks(): Promise<readonly Check[]> {
    const isReady = ({ ready, peers }: OverlayStatus): boolean =>
      ready && peers.length === 1 && peers.every((peer) => peer.ready);
    let status = await this.#nodes[0]!.status();
    for (const until = performance.now() + readyMs; !isReady(status) && performance.now() < until;) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      status = await this.#nodes[0]!.status();
    }
    return [check('the overlay says that it is ready, and its peer', isReady(status), status.reason ?? '')];
  }

  protected override agents(): readonly Place[] {
    return this.#wire.nodes;
  }

  protected override async measureOwn(record: Recorder, signal: AbortSignal): Promise<void> {
    record('agent-memory', memoryOf(this.#wire.nodes[0]!));
    await this.#outage('recovery-kill', record, signal, () => this.#nodes[0]!.crash());
    await this.#outage('recovery-device', record, signal, async () => this.#damage());
  }

  /** Takes what carries the packets away, whatever the overlay: its device, or where it has none, its route. */
  #damage(): void {
    const { place } = this.#nodes[0]!;
    place.links((links) => {
      const route = links.matchingRoute(this.ip(this.pods.remote));
      if (route?.link === undefined) throw new Error('there is no route to the other node that could be deleted');
      if (route.link === links.getLink('eth0')?.index) links.deleteRoute(route);
      else links.deleteLink(route.link);
    });
  }

  async #outage(metric: string, record: Recorder, signal: AbortSignal, harm: () => Promise<unknown>): Promise<void> {
    const { client, remote } = this.pods;
    await client.startProbe({ host: this.ip(remote), port: echoPort }, probesPerSecond, 64);
    await pause(100, signal);
    await harm();
    const after = await client.probed();
    const until = performance.now() + recoveryLimitMs;
    // A hundred answers: the way is there to stay.
    while ((await client.probed()) < after + 100 && performance.now() < until) await pause(20, signal);
    const isBack = (await client.probed()) >= after + 100;
    const { longestGapMs } = await client.stopProbe();
    record(metric, isBack ? longestGapMs : recoveryLimitMs);
  }

  async close(): Promise<readonly string[]> {
    try {
      const { client, remote, neighbour } = this.pods;
      for (const pod of [client, remote, neighbour]) await pod?.place.stopProcesses();
      for (const node of this.#nodes) await node.leave();
      return this.#nodes.flatMap(({ place }, index) =>
        leftovers(this.#before[index]!, tracesOf(place), `${place.name}`),
      );
    } finally {
      await this.#wire.close();
    }
  }
}
