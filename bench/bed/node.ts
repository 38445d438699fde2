import type { Attached, Joined, OverlayStatus, Peer } from '../../kernel/contract/index.ts';
import type { Place } from './place.ts';
import { type PluginChoice, PluginProcess, type PluginSource } from './plugin-process.ts';
import { type Family, nodeAddress, nodeAddress6, podCidr, clusterCidrs } from './wire.ts';
import { Pod } from './pod.ts';

/** A node with an overlay and an attachment, run by a process that does of them what an agent would. */
export class Node {
  readonly place: Place;
  readonly index: number;
  readonly #families: readonly Family[];
  readonly #overlay: PluginChoice;
  readonly #attachment: PluginChoice;
  readonly #source: PluginSource;
  readonly #folder: string;
  #process: PluginProcess;
  #joined: Joined | undefined;
  #peers: readonly Peer[] = [];

  constructor(
    place: Place,
    index: number,
    options: {
      readonly families: readonly Family[];
      readonly overlay: PluginChoice;
      readonly attachment: PluginChoice;
      readonly source: PluginSource;
      readonly folder: string;
    },
  ) {
    this.place = place;
    this.index = index;
    this.#families = options.families;
    this.#overlay = options.overlay;
    this.#attachment = options.attachment;
    this.#source = options.source;
    this.#folder = `${options.folder}/state${index}`;
    this.#process = new PluginProcess(place, this.#source, this.#folder);
  }

  get process(): PluginProcess {
    return this.#process;
  }

  get mtuBytes(): number {
    return this.#joined?.mtuBytes ?? Number.NaN;
  }

  get peer(): Peer {
    const { name, podCidrs, addresses } = this.#local();
    return { name, podCidrs, addresses, annotations: this.#joined?.annotations ?? {} };
  }

  async start(): Promise<void> {
    await Promise.all([this.#process.start(this.#overlay), this.#process.start(this.#attachment)]);
    const { value } = await this.#process.call<Joined>('overlay', 'join', this.#local());
    this.#joined = value;
    await this.#process.call('attachment', 'configure', {
      ...{ podCidrs: this.#local().podCidrs, clusterCidrs: this.#clusterCidrs(), mtuBytes: value.mtuBytes },
    });
  }

  async sync(peers: readonly Peer[]): Promise<void> {
    this.#peers = peers;
    await this.#process.call('overlay', 'sync', peers);
  }

  async attach(place: Place): Promise<Pod> {
    const request = { sandboxId: place.name, podNamespace: 'default', podName: place.name, netns: place.netns };
    const { value } = await this.#process.call<Attached>('attachment', 'add', { ...request, hostPorts: [] });
    return new Pod(place, value.ips);
  }

  async status(): Promise<OverlayStatus> {
    return (await this.#process.call<OverlayStatus>('overlay', 'status')).value;
  }

  /** kill -9, and a new agent that takes over. */
  async crash(): Promise<void> {
    await this.#process.kill();
    this.#process = new PluginProcess(this.place, this.#source, this.#folder);
    await this.start();
    await this.sync(this.#peers);
  }

  async leave(): Promise<void> {
    await this.#process.call('overlay', 'leave');
    await this.#process.call('attachment', 'purge');
    await this.#process.dispose('overlay');
    await this.#process.dispose('attachment');
  }

  #clusterCidrs(): readonly string[] {
    return this.#families.map((family) => clusterCidrs[family]);
  }

  #local() {
    return {
      name: this.place.name,
      podCidrs: this.#families.map((family) => podCidr(this.index, family)),
      clusterCidrs: this.#clusterCidrs(),
      addresses: [nodeAddress(this.index), nodeAddress6(this.index)],
    };
  }
}
