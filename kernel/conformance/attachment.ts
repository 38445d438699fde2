/**
 * Conformance kit of kind `attachment`. It works on whatever network the test gives it through `AttachmentBed`: real
 * namespaces and packets in the lab, a simulation in the kit's own test.
 */
import type {
  Attached,
  Attachment,
  AttachmentCapability,
  AttachmentRequest,
  HostPort,
  NodeNetwork,
} from '../contract/index.ts';
import { eventually } from './eventually.ts';
import { registerCases, type KitAssertions, type KitCase, type KitTest } from './kit.ts';

/** Where a connection starts: in a sandbox (by its network namespace), on the node, or on a host outside the cluster. */
export type AttachmentOrigin = { readonly netns: string } | 'node' | 'outside';

/** What the test lends to each case: one node of its own, in its original state. */
export interface AttachmentBed {
  /** The instance that is running. */
  attachment(): Attachment & AsyncDisposable;
  /** Disposes it and starts another on the same node and state folder; after `reboot`, as if the machine had restarted. */
  restart(options?: { readonly reboot: boolean }): Promise<Attachment>;
  /** An empty network namespace, as the runtime makes one for a sandbox. */
  sandbox(): Promise<{ readonly netns: string; destroy(): Promise<void> }>;
  /**
   * Connects to `address`, where a server answers with the client's address as it sees it: on each sandbox, on the node and
   * outside. Undefined: not reached. `port`: instead of the servers' own. Who asks `inVain` expects no answer and does not
   * wait for it long; any other waits until even a busy machine must have answered.
   */
  connect(
    from: AttachmentOrigin,
    address: string,
    how?: { readonly port?: number; readonly inVain?: boolean },
  ): Promise<string | undefined>;
  /** Where the servers of `connect` listen. */
  readonly serverPort: number;
  readonly nodeAddress: string;
  readonly outsideAddress: string;
  /** Text of all that an attachment could leave on the node: links, addresses, routes, rules. Equal texts, equal nodes. */
  traces(): Promise<string>;
  /** Breaks the interface of a sandbox, as an administrator could. */
  damage(sandboxId: string, netns: string): Promise<void>;
}

const network: NodeNetwork = { podCidrs: ['10.244.1.0/24'], clusterCidrs: ['10.244.0.0/16'], mtuBytes: 1400 };
const inRange = /^10\.244\.1\.\d+$/;

let serial = 0;

interface Guest {
  readonly id: string;
  readonly netns: string;
  readonly request: AttachmentRequest;
  destroy(): Promise<void>;
}

async function guest(bed: AttachmentBed): Promise<Guest> {
  serial += 1;
  const id = `sandbox-${serial}`;
  const { netns, destroy } = await bed.sandbox();
  return { id, netns, destroy, request: { sandboxId: id, podNamespace: 'kit', podName: id, netns, hostPorts: [] } };
}

/** A configured attachment with `count` sandboxes in it. */
async function populated(
  bed: AttachmentBed,
  count: number,
  configuration = network,
): Promise<readonly (Guest & { readonly attached: Attached; readonly ip: string })[]> {
  await bed.attachment().configure(configuration);
  const guests = [];
  for (let index = 0; index < count; index += 1) {
    const one = await guest(bed);
    const attached = await bed.attachment().add(one.request);
    guests.push({ ...one, attached, ip: attached.ips[0] ?? '' });
  }
  return guests;
}

type Case = KitCase<AttachmentBed, AttachmentCapability>;

const undeclaredHostPorts = 'host ports that it does not declare are refused with UNSUPPORTED';

const addressCases: readonly Case[] = [
  {
    title: 'it is ready once configured, not before',
    run: async (t, bed) => {
      const { ready, reason } = bed.attachment().status();
      t.false(ready);
      t.is(typeof reason, 'string', 'and says why');
      await bed.attachment().configure(network);
      t.true(bed.attachment().status().ready);
    },
  },
  {
    title: 'each sandbox has an address of the node range of its own, and says where its gateway is',
    needs: ['ipv4'],
    run: async (t, bed) => {
      const guests = await populated(bed, 3);
      t.is(new Set(guests.map(({ ip }) => ip)).size, 3, 'three addresses');
      for (const { attached, id } of guests) {
        t.is(attached.sandboxId, id);
        t.true(inRange.test(attached.ips[0] ?? ''), `${attached.ips[0]} is of the range`);
        t.true(inRange.test(attached.gateways[0] ?? ''), 'the gateway too');
        t.not(attached.gateways[0], attached.ips[0]);
        t.true(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(attached.mac), 'a MAC');
        t.true(attached.interface.length > 0);
      }
    },
  },
  {
    title: 'sandboxes added at the same moment have different addresses',
    run: async (t, bed) => {
      await bed.attachment().configure(network);
      const guests = await Promise.all(Array.from({ length: 8 }, () => guest(bed)));
      const attached = await Promise.all(guests.map(({ request }) => bed.attachment().add(request)));
      t.is(new Set(attached.map(({ ips }) => ips[0])).size, 8);
    },
  },
  {
    title: 'adding a sandbox ten times gives the same answer and takes one address',
    run: async (t, bed) => {
      const [one] = await populated(bed, 1);
      if (one === undefined) return;
      for (let round = 0; round < 10; round += 1) t.deepEqual(await bed.attachment().add(one.request), one.attached);
      t.is((await bed.attachment().list()).length, 1);
    },
  },
  {
    title: 'a freed address is not the next one given out',
    run: async (t, bed) => {
      const [one] = await populated(bed, 1);
      if (one === undefined) return;
      await bed.attachment().remove({ sandboxId: one.id, netns: one.netns });
      const next = await guest(bed);
      t.not((await bed.attachment().add(next.request)).ips[0], one.ip);
    },
  },
  {
    title: 'when the range is used up, an add fails with ADDRESSES_EXHAUSTED and changes nothing; a removal frees one',
    needs: ['ipv4'],
    run: async (t, bed) => {
      const guests = await populated(bed, 1, { ...network, podCidrs: ['10.244.1.0/29'] });
      const more: Guest[] = [];
      let failure: unknown;
      for (let index = 0; index < 8 && failure === undefined; index += 1) {
        const next = await guest(bed);
        try {
          await bed.attachment().add(next.request);
          more.push(next);
        } catch (error) {
          failure = error;
        }
      }
      t.is((failure as { code?: unknown } | undefined)?.code, 'ADDRESSES_EXHAUSTED');
      t.is((await bed.attachment().list()).length, more.length + 1);
      await bed.attachment().remove({ sandboxId: guests[0]?.id ?? '' });
      const last = await guest(bed);
      t.is((await bed.attachment().add(last.request)).ips[0], guests[0]?.ip);
    },
  },
  {
    title: 'with both families a sandbox has an address of each',
    needs: ['ipv4', 'ipv6'],
    run: async (t, bed) => {
      const both = {
        ...network,
        podCidrs: [...network.podCidrs, 'fd44:0:0:1::/64'],
        clusterCidrs: ['10.244.0.0/16', 'fd44::/48'],
      };
      const [one, two] = await populated(bed, 2, both);
      if (one === undefined || two === undefined) return;
      t.is(one.attached.ips.length, 2);
      t.is(one.attached.gateways.length, 2);
      t.is(await bed.connect(one, two.attached.ips[1] ?? ''), one.attached.ips[1]);
    },
  },
  {
    title: undeclaredHostPorts,
    run: async (t, bed) => {
      await bed.attachment().configure(network);
      const one = await guest(bed);
      const hostPorts = [{ hostIp: undefined, hostPort: 8080, containerPort: 80, protocol: 'TCP' as const }];
      await t.throwsAsync(() => bed.attachment().add({ ...one.request, hostPorts }), { code: 'UNSUPPORTED' });
      t.deepEqual(await bed.attachment().list(), []);
    },
  },
];

const packetCases: readonly Case[] = [
  {
    title: 'sandboxes reach each other and the node with their own addresses, and the node reaches them',
    run: async (t, bed) => {
      const [one, two] = await populated(bed, 2);
      if (one === undefined || two === undefined) return;
      t.is(await bed.connect(one, two.ip), one.ip);
      t.is(await bed.connect(two, one.ip), two.ip);
      t.is(await bed.connect(one, bed.nodeAddress), one.ip, 'the node sees the pod');
      t.not(await bed.connect('node', one.ip), undefined, 'the node reaches the pod');
    },
  },
  {
    title: 'traffic to the outside takes an address of the node',
    run: async (t, bed) => {
      const [one] = await populated(bed, 1);
      t.is(one && (await bed.connect(one, bed.outsideAddress)), bed.nodeAddress);
    },
  },
  {
    title: 'a sandbox that was removed is no longer reached, the others are',
    run: async (t, bed) => {
      const [one, two, three] = await populated(bed, 3);
      if (one === undefined || two === undefined || three === undefined) return;
      await bed.attachment().remove({ sandboxId: two.id, netns: two.netns });
      t.is(await bed.connect(one, two.ip, { inVain: true }), undefined);
      t.is(await bed.connect(one, three.ip), one.ip);
    },
  },
  {
    title: 'check finds nothing after an add, and names what is wrong of a damaged or unknown sandbox',
    run: async (t, bed) => {
      const [one] = await populated(bed, 1);
      if (one === undefined) return;
      t.deepEqual(await bed.attachment().check({ sandboxId: one.id, netns: one.netns }), []);
      t.not((await bed.attachment().check({ sandboxId: 'unknown', netns: one.netns })).length, 0);
      await bed.damage(one.id, one.netns);
      t.not((await bed.attachment().check({ sandboxId: one.id, netns: one.netns })).length, 0);
      await bed.attachment().add(one.request);
      t.deepEqual(await bed.attachment().check({ sandboxId: one.id, netns: one.netns }), [], 'an add repairs it');
    },
  },
];

const hostPort = 18_080;

/** A sandbox whose server is reached by a port of the node. */
async function guestWithPort(bed: AttachmentBed, change: Partial<HostPort> = {}): Promise<Guest> {
  const one = await guest(bed);
  const port = { hostIp: undefined, hostPort, containerPort: bed.serverPort, protocol: 'TCP' as const, ...change };
  return { ...one, request: { ...one.request, hostPorts: [port] } };
}

const hostPortCases: readonly Case[] = [
  {
    title:
      'a host port leads to its sandbox from outside, from the node, from others and from itself, until it is gone',
    needs: ['host-ports'],
    run: async (t, bed) => {
      const [other] = await populated(bed, 1);
      const one = await guestWithPort(bed);
      const attached = await bed.attachment().add(one.request);
      const reach = (from: AttachmentOrigin, address = bed.nodeAddress, inVain = false): Promise<string | undefined> =>
        bed.connect(from, address, { port: hostPort, inVain });
      t.is(await reach('outside'), bed.outsideAddress, 'the client keeps its address');
      t.is(other && (await reach(other)), other?.ip, 'a sandbox too');
      t.not(await reach('node'), undefined, 'from the node');
      t.not(await reach('node', '127.0.0.1'), undefined, 'from the node, to itself');
      t.not(await reach(one), undefined, 'from the sandbox itself');
      t.deepEqual(await bed.attachment().add(one.request), attached, 'added again');
      await bed.attachment().remove({ sandboxId: one.id, netns: one.netns });
      for (const from of ['outside', 'node', ...(other === undefined ? [] : [other])] as const)
        t.is(await reach(from, bed.nodeAddress, true), undefined, 'removed');
    },
  },
  {
    title: 'a host port of one address is that of no other; one that is taken is refused until it is free',
    needs: ['host-ports'],
    run: async (t, bed) => {
      await bed.attachment().configure(network);
      const bound = await guestWithPort(bed, { hostIp: bed.nodeAddress });
      const elsewhere = await guestWithPort(bed, { hostIp: '192.0.2.7' });
      const greedy = await guestWithPort(bed);
      await bed.attachment().add(bound.request);
      await bed.attachment().add(elsewhere.request);
      t.is(await bed.connect('outside', bed.nodeAddress, { port: hostPort }), bed.outsideAddress);
      t.is(await bed.connect('node', '127.0.0.1', { port: hostPort, inVain: true }), undefined);
      await t.throwsAsync(() => bed.attachment().add(greedy.request), { code: 'UNAVAILABLE' });
      t.is((await bed.attachment().list()).length, 2);
      for (const { id } of [bound, elsewhere]) await bed.attachment().remove({ sandboxId: id });
      await bed.attachment().add(greedy.request);
      t.is(await bed.connect('outside', bed.nodeAddress, { port: hostPort }), bed.outsideAddress);
    },
  },
  {
    title: 'host ports outlive the instance, and gc and purge remove them',
    needs: ['host-ports'],
    run: async (t, bed) => {
      const before = await bed.traces();
      await bed.attachment().configure(network);
      const one = await guestWithPort(bed);
      await bed.attachment().add(one.request);
      const reach = (inVain = false): Promise<string | undefined> =>
        bed.connect('outside', bed.nodeAddress, { port: hostPort, inVain });
      await bed.attachment()[Symbol.asyncDispose]();
      t.is(await reach(), bed.outsideAddress, 'between two instances');
      const next = await bed.restart();
      await next.configure(network);
      t.is(await reach(), bed.outsideAddress, 'the next knows it');
      t.deepEqual([...(await next.gc(new Set()))], [one.id]);
      t.is(await reach(true), undefined);
      await next.add(one.request);
      t.is(await reach(), bed.outsideAddress);
      await next.purge();
      t.is(await bed.traces(), before);
    },
  },
];

const lifeCases: readonly Case[] = [
  {
    title: 'removing leaves no trace, ten times over, with or without the namespace, and for an unknown sandbox',
    run: async (t, bed) => {
      await bed.attachment().configure(network);
      const before = await bed.traces();
      const [one, two] = [await guest(bed), await guest(bed)];
      await bed.attachment().add(one.request);
      await bed.attachment().add(two.request);
      t.not(await bed.traces(), before);
      await two.destroy();
      for (let round = 0; round < 10; round += 1) {
        await bed.attachment().remove({ sandboxId: one.id, netns: one.netns });
        await bed.attachment().remove({ sandboxId: two.id, netns: two.netns });
        await bed.attachment().remove({ sandboxId: 'unknown' });
      }
      t.true(await eventually(async () => (await bed.traces()) === before, 20_000), 'as before');
      t.deepEqual(await bed.attachment().list(), []);
    },
  },
  {
    title: 'configuring again with the same values changes nothing',
    run: async (t, bed) => {
      const [one, two] = await populated(bed, 2);
      const before = await bed.traces();
      await bed.attachment().configure(network);
      t.is(await bed.traces(), before);
      t.is(one && two && (await bed.connect(one, two.ip)), one?.ip);
    },
  },
  {
    title: 'dispose leaves sandboxes connected; a new instance knows them and gives nobody their addresses',
    run: async (t, bed) => {
      const [one, two] = await populated(bed, 2);
      if (one === undefined || two === undefined) return;
      await bed.attachment()[Symbol.asyncDispose]();
      await bed.attachment()[Symbol.asyncDispose]();
      t.is(await bed.connect(one, two.ip), one.ip, 'between two instances');
      const next = await bed.restart();
      await next.configure(network);
      t.deepEqual((await next.list()).map(({ sandboxId }) => sandboxId).sort(), [one.id, two.id].sort());
      t.deepEqual(await next.add(one.request), one.attached);
      const three = await guest(bed);
      const attached = await next.add(three.request);
      t.false([one.ip, two.ip].includes(attached.ips[0] ?? ''), 'a third address');
      t.is(await bed.connect(one, two.ip), one.ip);
    },
  },
  {
    title: 'gc removes exactly the sandboxes that are not valid, and says which',
    run: async (t, bed) => {
      const [one, two, three] = await populated(bed, 3);
      if (one === undefined || two === undefined || three === undefined) return;
      t.deepEqual([...(await bed.attachment().gc(new Set([one.id, three.id])))], [two.id]);
      t.deepEqual([...(await bed.attachment().gc(new Set([one.id, three.id])))], []);
      t.is(await bed.connect(one, three.ip), one.ip);
      t.is(await bed.connect(one, two.ip, { inVain: true }), undefined);
    },
  },
  {
    title: 'after a reboot gc collects what was attached before, whatever is said to be valid',
    run: async (t, bed) => {
      const [one] = await populated(bed, 1);
      if (one === undefined) return;
      const next = await bed.restart({ reboot: true });
      await next.configure(network);
      t.deepEqual([...(await next.gc(new Set([one.id])))], [one.id]);
      t.deepEqual(await next.list(), []);
    },
  },
  {
    title: 'purge leaves the node as it was found, twice over, also for an instance that was never configured',
    run: async (t, bed) => {
      const before = await bed.traces();
      await populated(bed, 2);
      t.not(await bed.traces(), before);
      const next = await bed.restart();
      await next.purge();
      await next.purge();
      t.is(await bed.traces(), before);
      t.deepEqual(await next.list(), []);
    },
  },
];

export const attachmentCases: readonly Case[] = [...addressCases, ...packetCases, ...hostPortCases, ...lifeCases];

export function attachmentConformance(
  test: KitTest,
  options: {
    readonly name: string;
    readonly capabilities: readonly AttachmentCapability[];
    readonly open: (t: KitAssertions) => AttachmentBed | Promise<AttachmentBed>;
  },
): void {
  const { name, capabilities, open } = options;
  const applies = (one: Case): boolean => !capabilities.includes('host-ports') || one.title !== undeclaredHostPorts;
  const declared: Case = {
    title: 'the instance names the capabilities that the plugin declares',
    run: async (t, bed) => void t.deepEqual([...bed.attachment().capabilities].sort(), [...capabilities].sort()),
  };
  registerCases(test, { name, capabilities, cases: [...attachmentCases.filter(applies), declared], subject: open });
}
