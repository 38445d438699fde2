/** A node's service proxy in memory, right unless a flaw is asked for: what `connect` answers follows from the last sync. */
import type {
  Proxy,
  ProxyEndpoint,
  ProxyPort,
  ProxyState,
  ProxyStatus,
  ServiceVerdict,
} from '../../../kernel/contract/index.ts';
import type { ProxyAnswer, ProxyBed, ProxyClient } from '../../../kernel/conformance/proxy.ts';

export type ProxyFlaw =
  | 'only the first endpoint'
  | 'masquerades pods'
  | 'no hairpin'
  | 'protocols mixed'
  | 'drops instead of refusing'
  | 'uses unready endpoints'
  | 'ignores terminating endpoints'
  | 'ignores the internal policy'
  | 'refuses for the local policy'
  | 'no NodePort'
  | 'no external addresses'
  | 'loses the client of a local policy'
  | 'local policy for pods too'
  | 'ignores source ranges'
  | 'source ranges for NodePorts'
  | 'no affinity'
  | 'affinity for ever'
  | 'sticks to gone endpoints'
  | 'always changes'
  | 'counts equal objects as changes'
  | 'keeps deleted Services'
  | 'UDP flows stay for ever'
  | 'UDP flows always move'
  | 'UDP flows that met nobody stay lost'
  | 'one affinity for all clients'
  | 'source ranges forget the node'
  | 'dispose flushes'
  | 'restart flushes first'
  | 'never repairs'
  | 'repairs without counting'
  | 'ready too early'
  | 'purge leaves a trace'
  | 'local policy forgets the terminating'
  | 'unknown ports are dropped'
  | 'no SCTP'
  | 'SCTP by cluster address only'
  | 'SCTP of TCP endpoints'
  | 'routes unknown addresses away'
  | 'refuses whatever no Service has'
  | 'remembers addresses as unknown'
  | 'forgets the service range'
  | ExplainFlaw;

type ExplainFlaw =
  | 'has no explain'
  | 'explains before it knows'
  | 'explains what is gone'
  | 'explains every address as served'
  | 'explains no unknown address'
  | 'explains unknown addresses by a Service'
  | 'explains without objects'
  | 'explains by objects that are gone'
  | 'explains without policies'
  | 'explains refusals as translations';

type ServiceFlow = Parameters<NonNullable<Proxy['explain']>>[0];

interface Kernel {
  state: ProxyState | undefined;
  syncs: number;
  residue: boolean;
  readonly sticky: Map<string, { readonly address: string; readonly until: number }>;
  readonly flows: Map<string, string>;
}

const localAddress = '10.244.1.2';
const remoteAddress = '10.244.2.2';
const nodeAddress = '192.168.0.1';
const outsideAddress = '192.168.0.254';
/** Where a flow goes that the kernel has remembered as nobody's. */
const nobody = 'nobody';

class SimulatedProxy implements Proxy, AsyncDisposable {
  readonly #kernel: Kernel;
  readonly #flaw: ProxyFlaw | undefined;
  #last: ProxyState | undefined;
  #repairs = 0;
  #syncedMs: number | undefined;
  /** All that was ever asked for, for the flaw that remembers it. */
  readonly #ever: ProxyPort[] = [];
  readonly explain: Proxy['explain'];

  constructor(kernel: Kernel, flaw: ProxyFlaw | undefined) {
    this.#kernel = kernel;
    this.#flaw = flaw;
    if (flaw !== 'has no explain') this.explain = async (flow, from) => this.#explain(flow, from);
  }

  #explain(flow: ServiceFlow, from: 'pod' | 'node' | 'outside'): ServiceVerdict | undefined {
    const flaw = this.#flaw;
    const ports = [...(this.#kernel.state?.ports ?? []), ...(flaw === 'explains what is gone' ? this.#ever : [])];
    const isCluster = ({ clusterIps }: ProxyPort): boolean => clusterIps.includes(flow.destination);
    const found = ports.find(
      (one) =>
        one.protocol === flow.protocol &&
        (one.port === flow.port || flaw === 'explains every address as served') &&
        (isCluster(one) || one.externalIps.includes(flow.destination)),
    );
    const nothing = { service: 'kit/web', via: 'cluster address', endpoints: [], objects: [] } as const;
    if (found === undefined && this.#last === undefined)
      return flaw === 'explains before it knows' ? { ...nothing, verdict: 'rejected' } : undefined;
    if (found === undefined) {
      if (flaw === 'explains no unknown address' || !isInRange(flow.destination)) return undefined;
      const known = ports.find(isCluster) === undefined && flaw !== 'explains unknown addresses by a Service';
      const service = known ? undefined : 'kit/web';
      return { ...nothing, service, verdict: 'rejected', reason: 'no Service has it' };
    }
    const via = isCluster(found) ? 'cluster address' : 'external address';
    const isLocal =
      flaw !== 'explains without policies' &&
      (isCluster(found) ? found.internalPolicy === 'Local' : found.externalPolicy === 'Local' && from === 'outside');
    const endpoints = found.endpoints.filter(({ local, ready }) => ready && (local || !isLocal));
    const isRefused = found.endpoints.length === 0 && flaw !== 'explains refusals as translations';
    const verdict = isRefused ? 'rejected' : endpoints.length === 0 && isLocal ? 'dropped' : 'translated';
    const object = { shown: `rule of ${found.service}`, isPresent: flaw !== 'explains by objects that are gone' };
    return {
      service: `${found.namespace}/${found.service}`,
      ...{ via, verdict, endpoints },
      ...(verdict === 'translated' ? {} : { reason: 'no endpoints' }),
      objects: flaw === 'explains without objects' ? [] : [object],
    };
  }

  async sync(desired: ProxyState): Promise<{ readonly changed: number }> {
    const before = this.#last;
    if (before === undefined && this.#flaw === 'restart flushes first') {
      this.#kernel.state = undefined;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const isSame =
      this.#flaw === 'counts equal objects as changes'
        ? before?.ports.every((port, index) => port === desired.ports[index]) === true
        : JSON.stringify(before) === JSON.stringify(desired);
    this.#last = desired;
    this.#ever.push(...desired.ports);
    const kept = this.#flaw === 'keeps deleted Services' ? (this.#kernel.state?.ports ?? []) : [];
    this.#kernel.state = { ...desired, ports: [...desired.ports, ...kept] };
    this.#kernel.syncs += 1;
    this.#syncedMs = Date.now();
    for (const [key, address] of this.#kernel.flows) {
      const isThere = desired.ports.some(({ endpoints }) => endpoints.some((endpoint) => endpoint.address === address));
      const isKept = this.#flaw === 'UDP flows stay for ever' || address === nobody;
      if (this.#flaw === 'UDP flows always move' || (!isThere && !isKept)) this.#kernel.flows.delete(key);
    }
    return { changed: isSame && this.#flaw !== 'always changes' ? 0 : 1 };
  }

  notice(): void {
    if (this.#flaw === 'never repairs') return;
    this.#kernel.state = this.#last;
    if (this.#flaw !== 'repairs without counting') this.#repairs += 1;
  }

  status(): ProxyStatus {
    const ready = this.#syncedMs !== undefined || this.#flaw === 'ready too early';
    return { ready, lastSyncMs: this.#syncedMs, repairs: this.#repairs };
  }

  async purge(): Promise<void> {
    this.#kernel.state = undefined;
    this.#kernel.residue = this.#flaw === 'purge leaves a trace';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#flaw === 'dispose flushes') this.#kernel.state = undefined;
  }
}

type Target = Parameters<ProxyBed['connect']>[1];

/** One packet's way through the simulated kernel. */
class Simulation {
  readonly #kernel: Kernel;
  readonly #unknown = new Set<string>();
  readonly #flaw: ProxyFlaw | undefined;

  constructor(kernel: Kernel, flaw: ProxyFlaw | undefined) {
    this.#kernel = kernel;
    this.#flaw = flaw;
  }

  connect(from: ProxyClient, to: Target): ProxyAnswer {
    const { address, port, protocol = 'TCP' } = to;
    if (this.#unknown.has(address) && this.#flaw === 'remembers addresses as unknown') return 'refused';
    const asked = protocol === 'SCTP' && this.#flaw === 'SCTP of TCP endpoints' ? 'TCP' : protocol;
    const found = this.#kernel.state?.ports.find((one) => this.#claims(one, address, port, asked));
    const flow = to.sourcePort === undefined ? undefined : `${from} ${to.sourcePort}`;
    if (flow !== undefined && this.#flaw === 'UDP flows that met nobody stay lost') {
      if (this.#kernel.flows.get(flow) === nobody) return 'dropped';
      if (found === undefined) this.#kernel.flows.set(flow, nobody);
    }
    if (found === undefined) return this.#unserved(from, address);
    const isInternal = found.clusterIps.includes(address);
    const isBalancer = found.loadBalancerIps.includes(address) || this.#flaw === 'source ranges for NodePorts';
    const ranges = found.loadBalancerSourceRanges;
    if (!isInternal && isBalancer && ranges.length > 0 && this.#flaw !== 'ignores source ranges')
      if (
        !ranges.includes(`${sourceOf(from)}/32`) ||
        (from === 'node' && this.#flaw === 'source ranges forget the node')
      )
        return 'dropped';
    const isLocalOnly = this.#isLocalOnly(found, from, isInternal);
    const all = this.#usable(found.endpoints);
    const local = found.endpoints.filter((one) => one.local);
    const isForgetful = this.#flaw === 'local policy forgets the terminating';
    const list = isLocalOnly ? (isForgetful ? local.filter(({ ready }) => ready) : this.#usable(local)) : all;
    if (all.length === 0) return this.#flaw === 'drops instead of refusing' ? 'dropped' : 'refused';
    if (list.length === 0) return this.#flaw === 'refuses for the local policy' ? 'refused' : 'dropped';
    const chosen = this.#choose(found, from, to, list);
    const isHairpin = from === 'local' && chosen.local;
    if (isHairpin && this.#flaw === 'no hairpin') return 'dropped';
    const keepsClient = isInternal ? from === 'local' : isLocalOnly;
    const isLost =
      this.#flaw === 'masquerades pods' || (isLocalOnly && this.#flaw === 'loses the client of a local policy');
    const client = keepsClient && !isHairpin && !isLost ? sourceOf(from) : nodeAddress;
    return { endpoint: chosen.local ? 'local' : 'remote', client };
  }

  #unserved(from: ProxyClient, address: string): ProxyAnswer {
    if (this.#flaw !== 'refuses whatever no Service has' && (address === localAddress || address === remoteAddress))
      return { endpoint: address === localAddress ? 'local' : 'remote', client: sourceOf(from) };
    const isOurs = this.#kernel.state?.ports.some(({ clusterIps }) => clusterIps.includes(address)) === true;
    if (isOurs) return this.#flaw === 'unknown ports are dropped' ? 'dropped' : 'refused';
    if (this.#kernel.state === undefined || this.#flaw === 'routes unknown addresses away') return 'dropped';
    if (this.#flaw === 'forgets the service range' && this.#kernel.syncs > 1) return 'dropped';
    if (!isInRange(address)) return this.#flaw === 'refuses whatever no Service has' ? 'refused' : 'dropped';
    this.#unknown.add(address);
    return 'refused';
  }

  #claims(one: ProxyPort, address: string, port: number, protocol: string): boolean {
    if (one.protocol !== protocol && this.#flaw !== 'protocols mixed') return false;
    if (protocol === 'SCTP' && this.#flaw === 'no SCTP') return false;
    if (protocol === 'SCTP' && this.#flaw === 'SCTP by cluster address only' && address === nodeAddress) return false;
    const external = this.#flaw === 'no external addresses' ? [] : [...one.externalIps, ...one.loadBalancerIps];
    if (port === one.port && [...one.clusterIps, ...external].includes(address)) return true;
    return address === nodeAddress && port === one.nodePort && this.#flaw !== 'no NodePort';
  }

  #isLocalOnly(port: ProxyPort, from: ProxyClient, isInternal: boolean): boolean {
    if (isInternal) return port.internalPolicy === 'Local' && this.#flaw !== 'ignores the internal policy';
    return port.externalPolicy === 'Local' && (from === 'outside' || this.#flaw === 'local policy for pods too');
  }

  #usable(endpoints: readonly ProxyEndpoint[]): readonly ProxyEndpoint[] {
    if (this.#flaw === 'uses unready endpoints') return endpoints;
    const ready = endpoints.filter((endpoint) => endpoint.ready);
    if (ready.length > 0 || this.#flaw === 'ignores terminating endpoints') return ready;
    return endpoints.filter(({ serving, terminating }) => serving && terminating);
  }

  #choose(port: ProxyPort, from: ProxyClient, to: Target, list: readonly ProxyEndpoint[]): ProxyEndpoint {
    const draw = this.#flaw === 'only the first endpoint' ? 0 : Math.floor(Math.random() * list.length);
    const drawn = list[draw] ?? list[0]!;
    const byAddress = (address: string | undefined): ProxyEndpoint | undefined =>
      list.find((one) => one.address === address);
    if (to.sourcePort !== undefined) {
      const key = `${from} ${to.sourcePort}`;
      const address = this.#kernel.flows.get(key) ?? drawn.address;
      this.#kernel.flows.set(key, address);
      return byAddress(address) ?? { ...drawn, address, local: address === localAddress };
    }
    if (port.affinitySeconds === undefined || this.#flaw === 'no affinity') return drawn;
    const key = `${port.service} ${port.port} ${this.#flaw === 'one affinity for all clients' ? '' : from}`;
    const held = this.#kernel.sticky.get(key);
    const isHeld = held !== undefined && (held.until > Date.now() || this.#flaw === 'affinity for ever');
    const isGone = isHeld && byAddress(held.address) === undefined;
    if (isGone && this.#flaw === 'sticks to gone endpoints')
      return { ...drawn, address: held.address, local: held.address === localAddress };
    const chosen = (isHeld ? byAddress(held.address) : undefined) ?? drawn;
    this.#kernel.sticky.set(key, { address: chosen.address, until: Date.now() + port.affinitySeconds * 1000 });
    return chosen;
  }
}

const isInRange = (address: string): boolean => address.startsWith('10.96.');

function sourceOf(from: ProxyClient): string {
  return { local: localAddress, node: nodeAddress, outside: outsideAddress }[from];
}

export function simulateProxy(flaw: ProxyFlaw | undefined): ProxyBed {
  const kernel: Kernel = { state: undefined, syncs: 0, residue: false, sticky: new Map(), flows: new Map() };
  const simulation = new Simulation(kernel, flaw);
  let running = new SimulatedProxy(kernel, flaw);
  return {
    proxy: () => running,
    restart: async () => {
      await running[Symbol.asyncDispose]();
      return (running = new SimulatedProxy(kernel, flaw));
    },
    connect: async (from, to) => {
      await new Promise((resolve) => setImmediate(resolve));
      return simulation.connect(from, to);
    },
    localAddress,
    remoteAddress,
    nodeAddress,
    outsideAddress,
    clusterCidrs: ['10.244.0.0/16'],
    serviceCidrs: ['10.96.0.0/12'],
    serviceAddresses: ['10.96.0.1', '10.96.0.2'],
    externalAddress: '198.51.100.1',
    balancerAddress: '198.51.100.2',
    traces: async () => JSON.stringify([kernel.state, kernel.residue]),
    damages: [
      {
        what: 'all rules flushed',
        inflict: async () => {
          kernel.state = undefined;
          running.notice();
        },
      },
    ],
  };
}
