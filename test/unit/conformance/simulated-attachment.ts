/** A node network in memory, and an attachment on it that is right unless a flaw is asked for. */
import {
  PintleError,
  type Attached,
  type Attachment,
  type AttachmentCapability,
  type AttachmentRequest,
  type HostPort,
  type NodeNetwork,
} from '../../../kernel/contract/index.ts';
import type { AttachmentBed, AttachmentOrigin } from '../../../kernel/conformance/attachment.ts';

export type AttachmentFlaw =
  | 'ready too early'
  | 'one address for all'
  | 'new address at each add'
  | 'reuses an address at once'
  | 'never exhausted'
  | 'host ports ignored'
  | 'capabilities misnamed'
  | 'host port without hairpin'
  | 'host port hides its client'
  | 'host port of all addresses'
  | 'host port given twice'
  | 'host port stays'
  | 'no masquerade'
  | 'pods masqueraded'
  | 'remove leaves a trace'
  | 'remove of unknown fails'
  | 'remove keeps the record'
  | 'dispose disconnects'
  | 'forgets after restart'
  | 'gc removes all'
  | 'gc trusts a former boot'
  | 'check is blind'
  | 'purge leaves a trace';

interface Lease extends Attached {
  readonly netns: string;
  readonly boot: number;
  readonly hostPorts: readonly HostPort[];
}

/** The kernel's side: survives instances. */
interface Node {
  readonly traces: Set<string>;
  readonly leases: Map<string, Lease>;
  readonly damaged: Set<string>;
  /** Host ports that were forgotten to be removed. */
  readonly stale: HostPort[];
  last: number;
  boot: number;
}

const nodeAddress = '192.168.0.1';
const outsideAddress = '192.168.0.254';

class SimulatedAttachment implements Attachment, AsyncDisposable {
  readonly #node: Node;
  readonly capabilities: readonly AttachmentCapability[];
  readonly #flaw: AttachmentFlaw | undefined;
  #network: NodeNetwork | undefined;

  constructor(node: Node, flaw: AttachmentFlaw | undefined, capabilities: readonly AttachmentCapability[]) {
    this.#node = node;
    this.capabilities = flaw === 'capabilities misnamed' ? [] : capabilities;
    this.#flaw = flaw;
  }

  async configure(network: NodeNetwork): Promise<void> {
    this.#network = network;
    this.#node.traces.add('bridge');
  }

  async add(request: AttachmentRequest): Promise<Attached> {
    const { hostPorts } = request;
    if (hostPorts.length > 0 && !this.capabilities.includes('host-ports') && this.#flaw !== 'host ports ignored')
      throw new PintleError('UNSUPPORTED', 'no host ports');
    for (const lease of this.#node.leases.values())
      if (lease.sandboxId !== request.sandboxId && this.#flaw !== 'host port given twice')
        for (const { hostIp, hostPort } of lease.hostPorts)
          if (hostPorts.some((one) => one.hostPort === hostPort && (!one.hostIp || !hostIp || one.hostIp === hostIp)))
            throw new PintleError('UNAVAILABLE', 'taken');
    const known = this.#node.leases.get(request.sandboxId);
    this.#node.damaged.delete(request.sandboxId);
    if (known !== undefined && this.#flaw !== 'new address at each add') return attached(known);
    const limit = this.#network?.podCidrs[0]?.endsWith('/29') === true ? 5 : 250;
    const taken = new Set([...this.#node.leases.values()].map(({ ips }) => ips[0]));
    const from = this.#flaw === 'reuses an address at once' ? 0 : this.#node.last;
    const offsets = Array.from({ length: limit }, (_, index) => ((from + index) % limit) + 2);
    const offset = this.#flaw === 'one address for all' ? 2 : offsets.find((one) => !taken.has(`10.244.1.${one}`));
    if (offset === undefined && this.#flaw !== 'never exhausted') throw new PintleError('ADDRESSES_EXHAUSTED', 'full');
    this.#node.last = (offset ?? 2) - 1;
    const isDual = (this.#network?.podCidrs.length ?? 0) > 1;
    const lease: Lease = {
      sandboxId: request.sandboxId,
      interface: 'eth0',
      mac: '0a:58:0a:f4:01:02',
      ips: [`10.244.1.${offset ?? 2}`, ...(isDual ? [`fd44:0:0:1::${offset ?? 2}`] : [])],
      gateways: ['10.244.1.1', ...(isDual ? ['fd44:0:0:1::1'] : [])],
      netns: request.netns,
      boot: this.#node.boot,
      hostPorts,
    };
    this.#node.leases.set(request.sandboxId, lease);
    this.#node.traces.add(`veth ${request.sandboxId}`);
    return attached(lease);
  }

  async remove({ sandboxId }: { readonly sandboxId: string }): Promise<void> {
    if (!this.#node.leases.has(sandboxId) && this.#flaw === 'remove of unknown fails') throw new Error('unknown');
    if (this.#flaw !== 'remove leaves a trace') this.#node.traces.delete(`veth ${sandboxId}`);
    if (this.#flaw === 'host port stays') this.#node.stale.push(...(this.#node.leases.get(sandboxId)?.hostPorts ?? []));
    if (this.#flaw !== 'remove keeps the record') this.#node.leases.delete(sandboxId);
  }

  async check({ sandboxId }: { readonly sandboxId: string }): Promise<readonly string[]> {
    if (this.#flaw === 'check is blind') return [];
    if (!this.#node.leases.has(sandboxId)) return ['not attached'];
    return this.#node.damaged.has(sandboxId) ? ['damaged'] : [];
  }

  async list(): Promise<readonly Attached[]> {
    return [...this.#node.leases.values()].filter(({ boot }) => boot === this.#node.boot).map(attached);
  }

  async gc(valid: ReadonlySet<string>): Promise<readonly string[]> {
    const gone = [...this.#node.leases.values()].filter(({ sandboxId, boot }) => {
      if (this.#flaw === 'gc removes all') return true;
      return !valid.has(sandboxId) || (boot !== this.#node.boot && this.#flaw !== 'gc trusts a former boot');
    });
    for (const { sandboxId } of gone) {
      this.#node.leases.delete(sandboxId);
      this.#node.traces.delete(`veth ${sandboxId}`);
    }
    return gone.map(({ sandboxId }) => sandboxId);
  }

  status(): { readonly ready: boolean; readonly reason?: string | undefined } {
    if (this.#network === undefined && this.#flaw !== 'ready too early') return { ready: false, reason: 'no range' };
    return { ready: true };
  }

  async purge(): Promise<void> {
    this.#node.leases.clear();
    this.#node.traces.clear();
    if (this.#flaw === 'purge leaves a trace') this.#node.traces.add('bridge');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#flaw === 'dispose disconnects') for (const id of this.#node.leases.keys()) this.#node.damaged.add(id);
  }
}

function attached({ sandboxId, interface: name, mac, ips, gateways }: Lease): Attached {
  return { sandboxId, interface: name, mac, ips, gateways };
}

export function simulateAttachment(
  flaw: AttachmentFlaw | undefined,
  capabilities: readonly AttachmentCapability[],
): AttachmentBed {
  const node: Node = { traces: new Set(), leases: new Map(), damaged: new Set(), stale: [], last: 0, boot: 1 };
  let running = new SimulatedAttachment(node, flaw, capabilities);
  let sandboxes = 0;
  const leaseAt = (netns: string): Lease | undefined =>
    [...node.leases.values()].find(
      (lease) => lease.netns === netns && lease.boot === node.boot && !node.damaged.has(lease.sandboxId),
    );
  return {
    attachment: () => running,
    restart: async (options) => {
      await running[Symbol.asyncDispose]();
      if (options?.reboot === true) node.boot += 1;
      if (flaw === 'forgets after restart') node.leases.clear();
      running = new SimulatedAttachment(node, flaw, capabilities);
      return running;
    },
    sandbox: async () => {
      sandboxes += 1;
      return { netns: `/netns/${sandboxes}`, destroy: async () => undefined };
    },
    serverPort: 80,
    connect: async (from: AttachmentOrigin, address: string, { port }: { readonly port?: number } = {}) => {
      const source = typeof from === 'string' ? undefined : leaseAt(from.netns);
      if (typeof from !== 'string' && source === undefined) return undefined;
      const index = address.includes(':') ? 1 : 0;
      const own = source?.ips[index] ?? '10.244.1.1';
      if (port !== undefined) {
        const leads = ({ hostIp, hostPort }: HostPort): boolean =>
          hostPort === port && (!hostIp || hostIp === address || flaw === 'host port of all addresses');
        const owner = [...node.leases.values()].find(({ hostPorts }) => hostPorts.some(leads));
        if (owner === undefined && !node.stale.some(leads)) return undefined;
        if (owner?.netns === source?.netns && flaw === 'host port without hairpin') return undefined;
        return from === 'outside' && flaw !== 'host port hides its client' ? outsideAddress : own;
      }
      if (address === outsideAddress) return flaw === 'no masquerade' ? own : nodeAddress;
      if (address === nodeAddress) return own;
      const target = [...node.leases.values()].find(
        ({ ips, netns }) => ips.includes(address) && leaseAt(netns) !== undefined,
      );
      if (target === undefined) return undefined;
      return flaw === 'pods masqueraded' && source !== undefined ? nodeAddress : own;
    },
    nodeAddress,
    outsideAddress,
    traces: async () => [...node.traces].sort().join('\n'),
    damage: async (sandboxId) => void node.damaged.add(sandboxId),
  };
}
