/** Three nodes in memory, and an overlay on them that is right unless a flaw is asked for. */
import type { Joined, LocalNode, Overlay, OverlayStatus, Peer } from '../../../kernel/contract/index.ts';
import type { OverlayBed, OverlayNode } from '../../../kernel/conformance/overlay.ts';

export type OverlayFlaw =
  | 'never repairs'
  | 'repairs without counting'
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
  readonly routes: Map<string, string>;
}

class SimulatedOverlay implements Overlay, AsyncDisposable {
  readonly #kernel: Kernel;
  readonly #flaw: OverlayFlaw | undefined;
  #peers: readonly Peer[] = [];
  #joined = false;
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
    this.#joined = true;
    this.#left = false;
    this.#kernel.device = true;
    const mac = this.#flaw === 'other annotations after a restart' ? `${local.name} ${this.#serial}` : local.name;
    return { mtuBytes: 1450, annotations: { mac } };
  }

  async sync(peers: readonly Peer[]): Promise<{ readonly changed: number }> {
    this.#peers = peers;
    const order = peers.map(({ name }) => name).join();
    const moved = this.#flaw === 'changes by order' && this.#order !== order ? 1 : 0;
    this.#order = order;
    const changed = this.#reconcile() + moved;
    if (this.#flaw === 'counts its own changes') this.#repairs += changed;
    return { changed: this.#flaw === 'always changes' ? changed + 1 : changed };
  }

  /** What netlink events would tell. */
  notice(): void {
    if (!this.#joined || this.#flaw === 'never repairs') return;
    this.#kernel.device = true;
    const repaired = this.#reconcile();
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
        .map(({ name, podCidrs }) => [podCidrs[0] ?? '', name]),
    );
    let changed = 0;
    for (const key of this.#kernel.routes.keys())
      if (!wanted.has(key) && this.#flaw !== 'keeps peers that are gone' && this.#kernel.routes.delete(key))
        changed += 1;
    for (const [key, name] of wanted) {
      if (this.#kernel.routes.get(key) === name) continue;
      this.#kernel.routes.set(key, name);
      changed += 1;
    }
    return changed;
  }
}

function isUsable(annotations: Readonly<Record<string, string>>, podCidrs: readonly string[]): boolean {
  return annotations['mac'] !== undefined && podCidrs.length > 0;
}

export function simulateOverlay(flaw: OverlayFlaw | undefined): OverlayBed {
  let serial = 0;
  const kernels: Kernel[] = [];
  const open = (kernel: Kernel): SimulatedOverlay => {
    serial += 1;
    return new SimulatedOverlay(kernel, flaw, serial);
  };
  const nodes = [0, 1, 2].map((index): OverlayNode => {
    const kernel: Kernel = { device: false, routes: new Map() };
    kernels.push(kernel);
    let running = open(kernel);
    const inflict = async (): Promise<void> => {
      kernel.routes.clear();
      running.notice();
    };
    return {
      local: {
        name: `node-${index}`,
        podCidrs: [`10.244.${index}.0/24`],
        clusterCidrs: ['10.244.0.0/16'],
        addresses: [`192.168.0.${index}`],
      },
      overlay: () => running,
      restart: async () => (running = open(kernel)),
      traces: async () => JSON.stringify([kernel.device, [...kernel.routes].sort()]),
      damages: [{ what: 'all routes deleted', inflict }],
    };
  });
  return {
    nodes,
    podAddress: (node) => `10.244.${node}.2`,
    connect: async (from, to, bytes = 0) => {
      const reaches = (one: number, other: number): boolean =>
        kernels[one]?.device === true && kernels[one].routes.get(`10.244.${other}.0/24`) === `node-${other}`;
      if (!reaches(from, to) || !reaches(to, from)) return undefined;
      if (flaw === 'MTU too large' && bytes > 1_400) return undefined;
      return flaw === 'masquerades' ? `192.168.0.${from}` : `10.244.${from}.2`;
    },
  };
}
