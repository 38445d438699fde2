/**
 * Conformance kit of kind `overlay`, on a network of three nodes that the test provides: real ones in the lab, a simulation
 * in the kit's own test.
 */
import type { LocalNode, Overlay, OverlayCapability, Peer } from '../contract/index.ts';
import { eventually } from './eventually.ts';
import { registerCases, type KitAssertions, type KitCase, type KitTest } from './kit.ts';

/**
 * What an overlay may have on a node: a device, its MAC, MTU and addresses; routes; neighbour (ARP, NDP) entries; forwarding
 * entries; rules of routing or filtering; a tunnel's own list of peers (WireGuard); a process.
 */
export type OwnedObject =
  'device' | 'mac' | 'mtu' | 'address' | 'route' | 'neighbour' | 'fdb' | 'rule' | 'peer' | 'process';

/** What somebody else can do to each. */
const harms: Readonly<Record<OwnedObject, readonly Damage['how'][]>> = {
  device: ['deleted', 'changed'],
  mac: ['changed'],
  mtu: ['changed'],
  address: ['deleted', 'changed'],
  route: ['deleted', 'changed'],
  neighbour: ['deleted', 'changed'],
  fdb: ['deleted', 'changed'],
  rule: ['deleted', 'changed'],
  peer: ['deleted', 'changed'],
  process: ['deleted'],
};

export interface Damage {
  /** For the report: "route turned elsewhere". */
  readonly what: string;
  readonly object: OwnedObject;
  readonly how: 'deleted' | 'changed';
  inflict(): Promise<void>;
}

export interface OverlayNode {
  /** What its agent joins with. */
  readonly local: LocalNode;
  /** The instance that is running on it. */
  overlay(): Overlay & AsyncDisposable;
  /** Disposes it and starts another. */
  restart(): Promise<Overlay>;
  /** Text of all that an overlay could leave on the node. Equal texts, equal nodes. */
  traces(): Promise<string>;
  /** The same without what an object that is made anew gets anew (an interface's index), and without order. */
  inventory(): Promise<string>;
  /** Every kind of object that the overlay has on this node, towards the other nodes too. */
  readonly owns: readonly OwnedObject[];
  /** Ways in which somebody else could break them: each kind in each way that there is. */
  readonly damages: readonly Damage[];
  /** Gives the node another underlay address in the place of its own; answers what its agent joins with from then on. */
  move(): Promise<LocalNode>;
}

export interface OverlayBed {
  /** At least three, each with one pod and the underlay between them. */
  readonly nodes: readonly OverlayNode[];
  /**
   * What pods of node `from` and `to` see of a connection with `bytes` sent: the client's address; undefined: not reached.
   * Who asks `inVain` expects no answer and does not wait for it long; any other waits until even a busy machine must have
   * answered.
   */
  connect(
    from: number,
    to: number,
    how?: { readonly bytes?: number; readonly inVain?: boolean },
  ): Promise<string | undefined>;
  podAddress(node: number): string;
  /** How long a repair may take: the contract's two seconds unless the machine is busy with other work. */
  readonly repairMs?: number;
}

type Case = KitCase<OverlayBed, OverlayCapability>;

const contractMs = 2_000;
const inVain = { inVain: true } as const;

async function joinAll(bed: OverlayBed): Promise<readonly Peer[]> {
  const peers: Peer[] = [];
  for (const { overlay, local } of bed.nodes) peers.push(await joinAs(overlay(), local));
  return peers;
}

/** What others know of a node after that. */
async function joinAs(overlay: Overlay, local: LocalNode): Promise<Peer> {
  const { annotations } = await overlay.join(local);
  const { name, podCidrs, addresses } = local;
  return { name, podCidrs, addresses, annotations };
}

const othersOf = (peers: readonly Peer[], index: number): Peer[] => peers.filter((_, other) => other !== index);

async function joinAndSync(bed: OverlayBed): Promise<readonly Peer[]> {
  const peers = await joinAll(bed);
  for (const [index, { overlay }] of bed.nodes.entries()) await overlay().sync(othersOf(peers, index));
  return peers;
}

const overlayCases: readonly Case[] = [
  {
    title: 'after join and sync pods of all nodes reach each other with their own addresses',
    run: async (t, bed) => {
      await joinAndSync(bed);
      for (const from of bed.nodes.keys())
        for (const to of bed.nodes.keys())
          if (from !== to) t.is(await bed.connect(from, to), bed.podAddress(from), `node ${from} to node ${to}`);
    },
  },
  {
    title: 'large transfers pass: the MTU that join gives fits the underlay',
    run: async (t, bed) => {
      const { mtuBytes } = await bed.nodes[0]!.overlay().join(bed.nodes[0]!.local);
      t.true(mtuBytes >= 1280 && mtuBytes <= 65_536, `${mtuBytes} bytes`);
      await joinAndSync(bed);
      t.is(await bed.connect(0, 1, { bytes: 1_000_000 }), bed.podAddress(0));
      t.is(bed.nodes[0]!.overlay().status().mtuBytes, mtuBytes);
    },
  },
  {
    title: 'joining again with the same arguments changes nothing and gives the same answer',
    run: async (t, bed) => {
      const { overlay, local, traces } = bed.nodes[0]!;
      const first = await overlay().join(local);
      const before = await traces();
      t.deepEqual(await overlay().join(local), first);
      t.is(await traces(), before);
    },
  },
  {
    title: 'a second identical sync changes nothing',
    run: async (t, bed) => {
      const peers = await joinAll(bed);
      const { overlay, traces } = bed.nodes[0]!;
      t.true((await overlay().sync(othersOf(peers, 0))).changed > 0, 'the first does');
      const before = await traces();
      t.is((await overlay().sync(othersOf(peers, 0))).changed, 0);
      t.is((await overlay().sync([...othersOf(peers, 0)].reverse())).changed, 0, 'in another order');
      t.is(await traces(), before);
    },
  },
  {
    title: 'exactly the given peers are reached: one that is left out is gone, one that returns is back',
    run: async (t, bed) => {
      const peers = await joinAndSync(bed);
      const { overlay } = bed.nodes[0]!;
      await overlay().sync([peers[2]!]);
      t.is(await bed.connect(0, 1, inVain), undefined);
      t.is(await bed.connect(0, 2), bed.podAddress(0));
      await overlay().sync(othersOf(peers, 0));
      t.is(await bed.connect(0, 1), bed.podAddress(0));
      await overlay().sync([]);
      t.is(await bed.connect(0, 2, inVain), undefined);
    },
  },
  {
    title: 'a peer whose overlay has not joined, or that has no range yet, is left out and reported; the others work',
    run: async (t, bed) => {
      const peers = await joinAll(bed);
      for (const index of [1, 2]) await bed.nodes[index]!.overlay().sync(othersOf(peers, index));
      const silent = { ...peers[1]!, annotations: {} };
      const rangeless = { name: 'rangeless', podCidrs: [], addresses: [], annotations: peers[1]!.annotations };
      const { overlay } = bed.nodes[0]!;
      await overlay().sync([silent, peers[2]!, rangeless]);
      const byName = new Map(
        overlay()
          .status()
          .peers.map((peer) => [peer.name, peer]),
      );
      t.true(byName.get(peers[2]!.name)?.ready);
      for (const name of [silent.name, 'rangeless']) {
        t.is(byName.get(name)?.ready, false, `${name} is not ready`);
        t.is(typeof byName.get(name)?.reason, 'string', 'with a reason');
      }
      t.is(await bed.connect(0, 2), bed.podAddress(0));
    },
  },
  {
    title: 'it is ready after join and sync, not after leave',
    run: async (t, bed) => {
      const { overlay } = bed.nodes[0]!;
      t.false(overlay().status().ready);
      await joinAndSync(bed);
      t.true(overlay().status().ready);
      t.is(overlay().status().peers.length, bed.nodes.length - 1);
      await overlay().leave();
      t.false(overlay().status().ready);
    },
  },
  {
    title:
      'whatever somebody else deletes or changes is repaired within two seconds and counted; its own changes are not',
    run: async (t, bed) => {
      const { repairMs = contractMs } = bed;
      const peers = await joinAndSync(bed);
      const { overlay, owns, damages, inventory } = bed.nodes[0]!;
      const unharmed = owns.flatMap((object) =>
        harms[object]
          .filter((how) => !damages.some((damage) => damage.object === object && damage.how === how))
          .map((how) => `${object} ${how}`),
      );
      t.deepEqual(unharmed, [], 'the bed tries every kind of object in every way');
      t.true(await eventually(async () => (await overlay().sync(othersOf(peers, 0))).changed === 0, repairMs));
      t.is(overlay().status().repairs, 0, 'nothing was broken yet');
      const right = await inventory();
      for (const { what, inflict } of damages) {
        const before = overlay().status().repairs;
        await inflict();
        t.true(await eventually(() => overlay().status().repairs > before, repairMs), `${what}: counted`);
        const passes = async (): Promise<boolean> => (await bed.connect(0, 1, inVain)) !== undefined;
        t.true(await eventually(passes, repairMs), `${what}: repaired`);
        t.true(await eventually(async () => (await inventory()) === right, repairMs), `${what}: as it was before`);
      }
    },
  },
  {
    title: 'a node that gets another underlay address, and its peers, go on at that address',
    run: async (t, bed) => {
      const { repairMs = contractMs } = bed;
      const peers = [...(await joinAndSync(bed))];
      const { overlay, move } = bed.nodes[1]!;
      const local = await move();
      t.not(local.addresses.join(), peers[1]!.addresses.join(), 'the bed moved it');
      peers[1] = await joinAs(overlay(), local);
      for (const [index, node] of bed.nodes.entries()) await node.overlay().sync(othersOf(peers, index));
      for (const [from, to] of [
        [0, 1],
        [1, 0],
        [2, 1],
      ] as const)
        t.true(
          await eventually(async () => (await bed.connect(from, to, inVain)) === bed.podAddress(from), repairMs),
          `node ${from} to node ${to}`,
        );
      for (const [index, node] of bed.nodes.entries())
        t.true(
          await eventually(async () => (await node.overlay().sync(othersOf(peers, index))).changed === 0, repairMs),
          `node ${index} has come to rest`,
        );
    },
  },
  {
    title: 'a new instance that does not know the peers yet leaves what leads to them, also when it repairs something',
    run: async (t, bed) => {
      const { repairMs = contractMs } = bed;
      await joinAndSync(bed);
      const { overlay, local, restart, damages } = bed.nodes[0]!;
      await overlay()[Symbol.asyncDispose]();
      const next = await restart();
      await next.join(local);
      t.is(await bed.connect(0, 1), bed.podAddress(0), 'after join');
      // Packets pass all the same, so that nothing but the repair can stop them.
      for (const { what, inflict } of damages.filter(({ object }) => object === 'mtu')) {
        const before = next.status().repairs;
        await inflict();
        t.true(await eventually(() => next.status().repairs > before, repairMs), `${what}: counted`);
        t.is(await bed.connect(0, 1), bed.podAddress(0), `after ${what}`);
      }
    },
  },
  {
    title: 'dispose leaves the data path, and a new instance takes it over without a change',
    run: async (t, bed) => {
      const peers = await joinAndSync(bed);
      const { overlay, local, restart, traces } = bed.nodes[0]!;
      const before = await traces();
      await overlay()[Symbol.asyncDispose]();
      await overlay()[Symbol.asyncDispose]();
      t.is(await bed.connect(0, 1), bed.podAddress(0), 'while none runs');
      const next = await restart();
      const { annotations } = await next.join(local);
      t.deepEqual(annotations, peers[0]!.annotations, 'peers need not learn anything');
      t.is((await next.sync(othersOf(peers, 0))).changed, 0);
      t.is(await traces(), before);
      t.is(await bed.connect(0, 1), bed.podAddress(0));
    },
  },
  {
    title: 'leave removes every trace, twice over, also of a predecessor',
    run: async (t, bed) => {
      const { overlay, restart, traces } = bed.nodes[0]!;
      const before = await traces();
      await joinAndSync(bed);
      t.not(await traces(), before);
      await overlay()[Symbol.asyncDispose]();
      const next = await restart();
      await next.leave();
      await next.leave();
      t.is(await traces(), before);
      t.is(await bed.connect(0, 1, inVain), undefined);
    },
  },
];

export { overlayCases };

export function overlayConformance(
  test: KitTest,
  options: {
    readonly name: string;
    readonly capabilities: readonly OverlayCapability[];
    readonly open: (t: KitAssertions) => OverlayBed | Promise<OverlayBed>;
  },
): void {
  const { name, capabilities, open } = options;
  registerCases(test, { name, capabilities, cases: overlayCases, subject: open });
}
