/** Three nodes in memory, and an overlay on them that is right unless a flaw is asked for. */
import type { Joined, LocalNode, Overlay, OverlayStatus, Peer } from '../../../kernel/contract/index.ts';
import type { Damage, OverlayBed, OverlayNode, OwnedObject } from '../../../kernel/conformance/overlay.ts';

export type OverlayFlaw =
  | 'never repairs'
  | 'repairs deletions only'
  | 'repairs traffic and not the MAC'
  | 'repairs without counting'
  | 'stays at its former address'
  | 'forgets where peers moved'
  | 'forgets peers when it joins'
  | 'repairs before it knows the peers'
  | 'counts its own changes'
  | 'keeps peers that are gone'
  | 'always changes'
  | 'changes by order'
  | 'MTU too large'
  | 'masquerades'
  | 'other annotations after a restart'
  | 'dispose cuts'
  | 'leave forgets the device'
  | 'leave twice fails'
  | 'takes peers without annotations'
  | 'hides refused peers'
  | 'ready before join';

interface Kernel {
  device: boolean;
  mac: string;
  mtu: number;
  /** The node's underlay address, and the one that the device sends from. */
  address: string;
  source: string;
  /** Peers' addresses by pod range. */
  readonly routes: Map<string, string>;
}

/** Where a route leads that somebody turned. */
const astray = '192.0.2.99';
const rightMac = 'that of the node';
const rightMtu = 1450;

class SimulatedOverlay implements Overlay, AsyncDisposable {
  readonly #kernel: Kernel;
  readonly #flaw: OverlayFlaw | undefined;
  #peers: readonly Peer[] = [];
  #joined = false;
  #isSynced = false;
  #left = false;
  #repairs = 0;
  #order = '';
  readonly #serial: number;

  constructor(kernel: Kernel, flaw: OverlayFlaw | undefined, serial: number) {
    this.#kernel = kernel;
    this.#flaw = flaw;
    this.#serial = serial;
  }

  async join(local: LocalNode): Promise<Joined> {
    this.#left = false;
    this.#kernel.device = true;
    this.#kernel.mac = rightMac;
    const [address = ''] = local.addresses;
    if (!this.#joined || this.#flaw !== 'stays at its former address') this.#kernel.source = address;
    this.#joined = true;
    if (this.#flaw === 'forgets peers when it joins') this.#kernel.routes.clear();
    const mac = this.#flaw === 'other annotations after a restart' ? `${local.name} ${this.#serial}` : local.name;
    return { mtuBytes: 1450, annotations: { mac } };
  }

  async sync(peers: readonly Peer[]): Promise<{ readonly changed: number }> {
    this.#peers = peers;
    this.#isSynced = true;
    const order = peers.map(({ name }) => name).join();
    const moved = this.#flaw === 'changes by order' && this.#order !== order ? 1 : 0;
    this.#order = order;
    const changed = this.#reconcile() + moved;
    if (this.#flaw === 'counts its own changes') this.#repairs += changed;
    return { changed: this.#flaw === 'always changes' ? changed + 1 : changed };
  }

  /** What netlink events would tell. */
  notice(how: Damage['how']): void {
    if (!this.#joined || this.#flaw === 'never repairs') return;
    if (this.#flaw === 'repairs deletions only' && how === 'changed') return;
    this.#kernel.device = true;
    if (this.#flaw !== 'repairs traffic and not the MAC') this.#kernel.mac = rightMac;
    this.#kernel.mtu = rightMtu;
    const mayReconcile = this.#isSynced || this.#flaw === 'repairs before it knows the peers';
    const repaired = mayReconcile ? this.#reconcile() : 0;
    if (this.#flaw !== 'repairs without counting') this.#repairs += Math.max(repaired, 1);
  }

  status(): OverlayStatus {
    const peers = this.#peers.map(({ name, annotations, podCidrs }) =>
      isUsable(annotations, podCidrs) || this.#flaw === 'takes peers without annotations'
        ? { name, ready: true }
        : { name, ready: false, reason: 'not joined' },
    );
    return {
      ready: this.#joined || this.#flaw === 'ready before join',
      mtuBytes: 1450,
      peers: this.#flaw === 'hides refused peers' ? peers.filter(({ ready }) => ready) : peers,
      repairs: this.#repairs,
    };
  }

  async leave(): Promise<void> {
    if (this.#left && this.#flaw === 'leave twice fails') throw new Error('has left');
    this.#left = true;
    this.#joined = false;
    this.#kernel.routes.clear();
    if (this.#flaw !== 'leave forgets the device') this.#kernel.device = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#joined = false;
    if (this.#flaw === 'dispose cuts') this.#kernel.routes.clear();
  }

  #reconcile(): number {
    const wanted = new Map(
      this.#peers
        .filter(({ annotations, podCidrs }) => isUsable(annotations, podCidrs))
        .map(({ podCidrs, addresses }) => [podCidrs[0] ?? '', addresses[0] ?? '']),
    );
    let changed = 0;
    for (const key of this.#kernel.routes.keys())
      if (!wanted.has(key) && this.#flaw !== 'keeps peers that are gone' && this.#kernel.routes.delete(key))
        changed += 1;
    for (const [key, address] of wanted) {
      const found = this.#kernel.routes.get(key);
      if (found === address || (found !== undefined && found !== astray && this.#flaw === 'forgets where peers moved'))
        continue;
      this.#kernel.routes.set(key, address);
      changed += 1;
    }
    return changed;
  }
}

function isUsable(annotations: Readonly<Record<string, string>>, podCidrs: readonly string[]): boolean {
  return annotations['mac'] !== undefined && podCidrs.length > 0;
}

/** `untried`: an object that the bed's damages leave out. */
export function simulateOverlay(flaw: OverlayFlaw | undefined, untried?: OwnedObject): OverlayBed {
  let serial = 0;
  const kernels: Kernel[] = [];
  const open = (kernel: Kernel): SimulatedOverlay => {
    serial += 1;
    return new SimulatedOverlay(kernel, flaw, serial);
  };
  const nodes = [0, 1, 2].map((index): OverlayNode => {
    const address = `192.168.0.${index}`;
    const kernel: Kernel = { device: false, mac: '', mtu: rightMtu, address, source: '', routes: new Map() };
    kernels.push(kernel);
    let running = open(kernel);
    const damage = (object: OwnedObject, how: Damage['how'], inflict: () => void): Damage => ({
      object,
      how,
      what: `${object} ${how}`,
      inflict: async () => {
        inflict();
        running.notice(how);
      },
    });
    const local = {
      name: `node-${index}`,
      podCidrs: [`10.244.${index}.0/24`],
      clusterCidrs: ['10.244.0.0/16'],
      addresses: [address],
    };
    const traces = async (): Promise<string> => JSON.stringify([kernel.device, [...kernel.routes].sort()]);
    return {
      local,
      overlay: () => running,
      restart: async () => (running = open(kernel)),
      traces,
      inventory: async () => `${await traces()} ${kernel.mac} ${kernel.mtu}`,
      owns: ['device', 'mac', 'mtu', 'route'],
      damages: [
        damage('device', 'deleted', () => (kernel.device = false)),
        damage('device', 'changed', () => (kernel.device = false)),
        damage('mac', 'changed', () => (kernel.mac = 'another')),
        damage('mtu', 'changed', () => (kernel.mtu = 1300)),
        damage('route', 'deleted', () => kernel.routes.clear()),
        damage('route', 'changed', () => {
          for (const key of kernel.routes.keys()) kernel.routes.set(key, astray);
        }),
      ].filter(({ object }) => object !== untried),
      move: async () => {
        kernel.address = `192.168.1.${index}`;
        return { ...local, addresses: [kernel.address] };
      },
    };
  });
  return {
    nodes,
    podAddress: (node) => `10.244.${node}.2`,
    connect: async (from, to, { bytes = 0 } = {}) => {
      const reaches = (one: number, other: number): boolean =>
        kernels[one]?.device === true &&
        kernels[one].source === kernels[one].address &&
        kernels[one].routes.get(`10.244.${other}.0/24`) === kernels[other]?.address;
      if (!reaches(from, to) || !reaches(to, from)) return undefined;
      if (flaw === 'MTU too large' && bytes > 1_400) return undefined;
      return flaw === 'masquerades' ? `192.168.0.${from}` : `10.244.${from}.2`;
    },
  };
}
