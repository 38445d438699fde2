/** One cell of the proxy suite: a client's node with the proxy, backends on another node, plain routes between. */
import type { ProxyEndpoint, ProxyPort } from '../../../kernel/contract/index.ts';
import { Pod } from '../../bed/pod.ts';
import { type PluginChoice, PluginProcess, type PluginSource } from '../../bed/plugin-process.ts';
import { kernelTableBytes, residentBytesOf } from '../../bed/processes.ts';
import { startServers } from '../../bed/tools.ts';
import { leftovers, tracesOf } from '../../bed/traces.ts';
import { type Family, Wire } from '../../bed/wire.ts';
import type { Fact } from '../../method/result.ts';
import { median } from '../../method/statistics.ts';
import { type Bed, check, type Check, type Recorder, type Size } from '../../method/suite.ts';
import { echoPort, pause } from '../net/traffic.ts';
import * as services from './services.ts';
import type { SyncArgs, Synced } from './sync-job.ts';
import { type Effort, efforts, measureTraffic } from './traffic.ts';

const backendCount = 4;
const iperfPort = 5201;

class Network {
  readonly wire = new Wire(2);
  readonly client: Pod;
  readonly backends: readonly Pod[];
  readonly family: Family;

  constructor(family: Family) {
    this.family = family;
    this.wire.routeBetweenNodes();
    const pod = (node: number, name: string, number: number): Pod => {
      const { place, ips } = this.wire.routedPod(node, name, number);
      return new Pod(place, ips);
    };
    this.client = pod(0, 'client', 2);
    this.backends = Array.from({ length: backendCount }, (_, index) => pod(1, `backend${index}`, 2 + index));
  }

  addressOf = (pod: Pod): string => pod.ips[this.family === 'ipv4' ? 0 : 1] ?? '';

  async serve(): Promise<void> {
    await Promise.all(this.backends.map((backend) => backend.serve(echoPort)));
    await startServers(this.backends[0]!.place, false);
  }
}

/** Connections straight to the pods: what every mode adds to. */
export class DirectBed implements Bed {
  readonly #network: Network;
  readonly #size: Size;

  constructor(size: Size, family: Family) {
    this.#size = size;
    this.#network = new Network(family);
  }

  async check(): Promise<readonly Check[]> {
    const { client, backends, addressOf } = this.#network;
    await this.#network.serve();
    const answers = await Promise.all(
      backends.map((backend) => client.whoami({ host: addressOf(backend), port: echoPort + 1 })),
    );
    return [
      check(
        'every backend answers',
        answers.every((answer) => answer.startsWith('backend')),
        answers.join(', '),
      ),
    ];
  }

  async measure(record: Recorder, signal: AbortSignal): Promise<void> {
    const { client, backends, addressOf } = this.#network;
    const hosts = backends.map(addressOf);
    const way = { client, hosts, port: echoPort, iperfHost: hosts[0], node: undefined, agent: undefined };
    await measureTraffic(way, efforts[this.#size], record, signal);
  }

  facts(): Readonly<Record<string, Fact>> {
    return {};
  }

  async close(): Promise<readonly string[]> {
    await this.#network.wire.close();
    return [];
  }
}

export interface ProxyCell {
  readonly choice: PluginChoice & { readonly capabilities: readonly string[] };
  readonly services: number;
  readonly family: Family;
  readonly size: Size;
  readonly source: PluginSource;
}

export class ProxyBed implements Bed {
  readonly #cell: ProxyCell;
  readonly #network: Network;
  readonly #before: ReadonlySet<string>;
  readonly #process: PluginProcess;
  readonly #early: [metric: string, value: number][] = [];
  /** What took so long that less was done than the size asks for, in words. */
  readonly #shortened: Record<string, Fact> = {};

  private constructor(cell: ProxyCell) {
    this.#cell = cell;
    this.#network = new Network(cell.family);
    const [node] = this.#network.wire.nodes;
    this.#before = tracesOf(node!);
    this.#process = new PluginProcess(node!, cell.source, this.#network.wire.places.folder);
  }

  static async open(cell: ProxyCell): Promise<ProxyBed> {
    const bed = new ProxyBed(cell);
    try {
      await bed.#network.serve();
      await bed.#process.start(cell.choice);
      await bed.#coldStart();
      return bed;
    } catch (error) {
      await bed.#network.wire.close();
      throw error;
    }
  }

  get #hasUdp(): boolean {
    return this.#cell.choice.capabilities.includes('udp');
  }

  #addressOf = (index: number): string => services.serviceAddress(index, this.#cell.family);

  #hosts(): readonly string[] {
    return services.targetsOf(this.#cell.services).map(this.#addressOf);
  }

  #sync(put: readonly ProxyPort[]): Promise<Synced> {
    return this.#process.job('proxy-sync', { family: this.#cell.family, put } satisfies SyncArgs);
  }

  async #coldStart(): Promise<void> {
    const { backends, addressOf } = this.#network;
    const at = (port: number) => backends.map((pod) => ({ address: addressOf(pod), port }));
    const { family } = this.#cell;
    const many = services.manyServices(this.#cell.services, at(echoPort), family);
    const first = services.serviceAddress(0, family);
    const who = at(echoPort + 1).map((backend) => services.endpoint(backend));
    const iperf = [services.endpoint({ address: addressOf(backends[0]!), port: iperfPort })];
    const iperfPorts = (this.#hasUdp ? (['TCP', 'UDP'] as const) : []).map((protocol) =>
      services.port('iperf', services.iperfServiceAddress(family), iperf, {
        ...{ name: protocol.toLowerCase(), protocol, port: services.iperfServicePort },
      }),
    );
    const kernel = kernelTableBytes();
    const { ms, cpuSeconds } = await this.#sync([
      ...many,
      services.port('service-0', first, who, { name: 'who', port: services.whoPort }),
      services.port('empty', services.emptyServiceAddress(family), []),
      ...iperfPorts,
    ]);
    this.#early.push(['cold-start', ms]);
    this.#early.push(['cold-start-cpu', cpuSeconds]);
    this.#early.push(['kernel-memory', Math.max(0, kernelTableBytes() - kernel) / 2 ** 20]);
  }

  async check(): Promise<readonly Check[]> {
    const { client, backends, addressOf } = this.#network;
    const first = this.#addressOf(0);
    const seen = new Set<string>();
    const strangers = new Set<string>();
    const keepsAddress = this.#cell.choice.capabilities.includes('client-address');
    for (let asked = 0; asked < 60 && seen.size < backends.length; asked += 1) {
      const answer = await client.whoami({ host: first, port: services.whoPort });
      const [name = '', address] = answer.split(' ');
      if (!name.startsWith('backend') || (keepsAddress && address !== addressOf(client))) strangers.add(answer);
      seen.add(name);
    }
    const target = this.#hosts().at(-1)!;
    const empty = await client.whoami({
      host: services.emptyServiceAddress(this.#cell.family),
      port: services.servicePort,
    });
    return [
      check(
        'every endpoint is used, and nobody else',
        strangers.size === 0 && seen.size === backends.length,
        [...seen, ...strangers].join(', '),
      ),
      check('bytes come back unchanged', await client.bulk({ host: target, port: services.servicePort }, 1_000_000)),
      check('a Service without endpoints refuses', empty === 'ECONNREFUSED', empty),
    ];
  }

  async measure(record: Recorder, signal: AbortSignal): Promise<void> {
    const effort = efforts[this.#cell.size];
    const hosts = this.#hosts();
    const iperfHost = this.#hasUdp ? services.iperfServiceAddress(this.#cell.family) : undefined;
    const [node] = this.#network.wire.nodes;
    const way = { client: this.#network.client, hosts, port: services.servicePort, iperfHost };
    for (const [metric, value] of this.#early) record(metric, value);
    await measureTraffic({ ...way, node, agent: this.#process.pid }, effort, record, signal);
    await this.#changes(effort, record, signal);
    await this.#rollOut(effort, record, signal);
    record('memory', residentBytesOf(this.#process.pid) / 2 ** 20);
    record('purge', (await this.#process.call('proxy', 'purge')).ms);
  }

  async #changes({ repeats, patienceMs }: Effort, record: Recorder, signal: AbortSignal): Promise<void> {
    const { client, backends, addressOf } = this.#network;
    const all = backends.map((pod) => services.endpoint({ address: addressOf(pod), port: echoPort }));
    const [added, grown]: [number[], number[]] = [[], []];
    const end = performance.now() + patienceMs;
    for (let repeat = 0; repeat < repeats && (repeat === 0 || performance.now() < end); repeat += 1) {
      signal.throwIfAborted();
      const address = services.addedServiceAddress(repeat, this.#cell.family);
      const name = `added-${repeat}`;
      const few = services.port(name, address, all.slice(0, 1));
      added.push((await this.#sync([few])).ms);
      const more = services.port(name, address, all.slice(0, 2));
      const worked = await client.bulk({ host: address, port: services.servicePort }, 1);
      if (!worked) throw new Error(`after its sync, the new Service ${address} does not answer`);
      grown.push((await this.#sync([more])).ms);
    }
    if (added.length < repeats) this.#shortened['changes made'] = `${added.length} of ${repeats}`;
    record('add-service', median(added));
    record('add-endpoint', median(grown));
  }

  /** Pods of a Service replaced one by one, each gone a moment after nobody is sent to it any more. */
  async #rollOut(
    { rollOutSteps, requestsPerSecond, patienceMs }: Effort,
    record: Recorder,
    signal: AbortSignal,
  ): Promise<void> {
    const { client, backends, addressOf } = this.#network;
    const address = services.rolledServiceAddress(this.#cell.family);
    const ports = backends.map(() => 8000);
    const endpoints = () =>
      backends.map((pod, index) => services.endpoint({ address: addressOf(pod), port: ports[index]! }));
    await Promise.all(backends.map((pod) => pod.serve(8000)));
    const rolled = (...leaving: readonly ProxyEndpoint[]): readonly ProxyPort[] => [
      services.port('rolled', address, [...endpoints(), ...leaving]),
    ];
    await this.#sync(rolled());
    const took: number[] = [];
    const began = performance.now();
    await client.startPaced({ host: address, port: services.servicePort }, requestsPerSecond);
    try {
      const end = performance.now() + patienceMs;
      for (let step = 0; step < rollOutSteps && (step === 0 || performance.now() < end); step += 1) {
        signal.throwIfAborted();
        const index = step % backends.length;
        const [pod, old, next] = [backends[index]!, ports[index]!, 8002 + step * 2];
        await pod.serve(next);
        ports[index] = next;
        const leaving = services.endpoint({ address: addressOf(pod), port: old }, { ready: false, terminating: true });
        took.push((await this.#sync(rolled(leaving))).ms);
        took.push((await this.#sync(rolled())).ms);
        await pause(50, signal);
        await pod.unserve(old);
      }
    } finally {
      const seconds = (performance.now() - began) / 1_000;
      const { sent, lost } = await client.stopPaced();
      if (sent > 0) record('roll-out-lost', (lost / sent) * 100);
      // A client that cannot keep the pace asks less of the proxy than the size says.
      if (sent < seconds * requestsPerSecond * 0.9)
        this.#shortened['requests/s in the roll-out'] = `${Math.round(sent / seconds)} of ${requestsPerSecond}`;
    }
    if (took.length < rollOutSteps * 2) this.#shortened['roll-out steps'] = `${took.length / 2} of ${rollOutSteps}`;
    record('roll-out-step', median(took));
  }

  facts(): Readonly<Record<string, Fact>> {
    return { services: this.#cell.services, endpointsOfEach: 2, backends: backendCount, ...this.#shortened };
  }

  async close(): Promise<readonly string[]> {
    const [node] = this.#network.wire.nodes;
    try {
      await this.#process.call('proxy', 'purge');
      await this.#process.dispose('proxy');
      return leftovers(this.#before, tracesOf(node!), 'node0');
    } finally {
      await this.#network.wire.close();
    }
  }
}
