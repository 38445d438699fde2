/** How fast attachments connect pods and let them go, beside the bare veth pair, addresses and routes that it takes. */
import type { Attached } from '../../../kernel/contract/index.ts';
import { openRtnetlink } from '../../../netplugins/linux/rtnetlink.ts';
import type { Place } from '../../bed/place.ts';
import { type PluginChoice, PluginProcess, type PluginSource } from '../../bed/plugin-process.ts';
import { residentBytesOf } from '../../bed/processes.ts';
import { leftovers, tracesOf } from '../../bed/traces.ts';
import { clusterCidrs, podAddress, podCidr, Wire } from '../../bed/wire.ts';
import type { Fact, Metric } from '../../method/result.ts';
import { ascending, quantile } from '../../method/statistics.ts';
import {
  type Bed,
  type CellPlan,
  check,
  type Check,
  type Recorder,
  type Size,
  type Suite,
} from '../../method/suite.ts';
import { metric } from '../net/metrics.ts';
import { select, type SuiteContext } from '../selection.ts';

const podCounts: Readonly<Record<Size, number>> = { smoke: 2, standard: 12, full: 100 };
const width = 8;

const timing = (id: string, title: string, group: string, headline = false): readonly Metric[] => [
  metric({ id: `${id}-p50`, title: `${title}, p50`, unit: 'ms', better: 'less', group, headline }),
  metric({ id: `${id}-p99`, title: `${title}, p99`, unit: 'ms', better: 'less', group, leastChange: 0.5 }),
];

const metrics: readonly Metric[] = [
  ...timing('add', 'add, one after the other', 'add', true),
  ...timing('remove', 'remove, one after the other', 'remove', true),
  metric({ id: 'rate', title: `adds, ${width} at a time`, unit: '/s', better: 'more', group: 'rate', headline: true }),
  metric({ id: 'memory', title: 'memory of the agent process', unit: 'MiB', better: 'less', group: 'memory' }),
];

function recordTimes(record: Recorder, id: string, took: ArrayLike<number>): void {
  const sorted = ascending(Array.from(took));
  record(`${id}-p50`, quantile(sorted, 0.5));
  record(`${id}-p99`, quantile(sorted, 0.99));
}

abstract class AttachmentBase {
  readonly wire = new Wire(1);
  readonly pods: readonly Place[];

  constructor(size: Size) {
    this.pods = Array.from({ length: podCounts[size] }, (_, index) => this.wire.pod(`pod${index}`));
  }

  get node(): Place {
    return this.wire.nodes[0]!;
  }
}

class BareBed extends AttachmentBase implements Bed {
  async check(): Promise<readonly Check[]> {
    return [];
  }

  async measure(record: Recorder): Promise<void> {
    const one = (act: (pod: Place, index: number) => void): number[] =>
      this.pods.map((pod, index) => {
        const began = performance.now();
        act(pod, index);
        return performance.now() - began;
      });
    const node = openRtnetlink({ netns: this.node.netns });
    try {
      const add = (pod: Place, index: number): void => {
        const end = `bare${index}`;
        const address = podAddress(0, index + 2, 'ipv4');
        node.createVeth({ name: end, up: true, peer: { name: 'eth0', netns: pod.netns } });
        node.addRoute({ destination: `${address}/32`, link: node.getLink(end)!.index, scope: 253 });
        pod.links((links) => {
          const eth0 = links.getLink('eth0')!.index;
          links.setLink(eth0, { up: true });
          links.addAddress(eth0, `${address}/32`);
          links.addRoute({ destination: '169.254.1.1/32', link: eth0, scope: 253 });
          links.addRoute({ destination: '0.0.0.0/0', gateway: '169.254.1.1', link: eth0 });
        });
      };
      const remove = (_: Place, index: number): void => void node.deleteLink(`bare${index}`);
      one(add);
      one(remove);
      recordTimes(record, 'add', one(add));
      recordTimes(record, 'remove', one(remove));
      const began = performance.now();
      one(add);
      record('rate', (this.pods.length / (performance.now() - began)) * 1000);
      one(remove);
    } finally {
      node.close();
    }
  }

  facts(): Readonly<Record<string, Fact>> {
    return { pods: this.pods.length };
  }

  async close(): Promise<readonly string[]> {
    await this.wire.close();
    return [];
  }
}

class PluginBed extends AttachmentBase implements Bed {
  readonly #process: PluginProcess;
  readonly #before: ReadonlySet<string>;

  private constructor(size: Size, source: PluginSource) {
    super(size);
    this.#before = tracesOf(this.node);
    this.#process = new PluginProcess(this.node, source, this.wire.places.folder);
  }

  static async open(size: Size, choice: PluginChoice, source: PluginSource): Promise<PluginBed> {
    const bed = new PluginBed(size, source);
    try {
      await bed.#process.start(choice);
      const network = { podCidrs: [podCidr(0, 'ipv4')], clusterCidrs: [clusterCidrs.ipv4], mtuBytes: 1450 };
      await bed.#process.call('attachment', 'configure', network);
      return bed;
    } catch (error) {
      await bed.wire.close();
      throw error;
    }
  }

  #add(pod: Place): readonly unknown[] {
    const { name, netns } = pod;
    return [{ sandboxId: name, podNamespace: 'default', podName: name, netns, hostPorts: [] }];
  }

  async #all(verb: 'add' | 'remove', atOnce: number): Promise<{ readonly took: Float64Array; readonly ms: number }> {
    const calls = this.pods.map((pod) =>
      verb === 'add' ? this.#add(pod) : [{ sandboxId: pod.name, netns: pod.netns }],
    );
    return this.#process.series({ kind: 'attachment', verb, calls, width: atOnce });
  }

  async check(): Promise<readonly Check[]> {
    const [one, two] = this.pods as [Place, Place];
    const request = async (pod: Place): Promise<Attached> =>
      (await this.#process.call<Attached>('attachment', 'add', ...this.#add(pod))).value;
    const [first, second] = [await request(one), await request(two)];
    const again = await request(one);
    const check1 = await this.#process.call<readonly string[]>('attachment', 'check', {
      sandboxId: one.name,
      netns: one.netns,
    });
    const address = one.links((links) => links.listAddresses().map((each) => each.address));
    await this.#all('remove', 1);
    const listed = (await this.#process.call<readonly Attached[]>('attachment', 'list')).value;
    return [
      check('two pods have two addresses', first.ips[0] !== second.ips[0], `${first.ips[0]}, ${second.ips[0]}`),
      check('a repeated add answers the same', again.ips.join() === first.ips.join()),
      check('the pod has its address', address.includes(first.ips[0] ?? ''), address.join(', ')),
      check('nothing is wrong with the attachment', check1.value.length === 0, check1.value.join('; ')),
      check('after the removal nothing is listed', listed.length === 0),
    ];
  }

  async measure(record: Recorder): Promise<void> {
    await this.#all('add', 1);
    await this.#all('remove', 1);
    recordTimes(record, 'add', (await this.#all('add', 1)).took);
    recordTimes(record, 'remove', (await this.#all('remove', 1)).took);
    const { ms } = await this.#all('add', width);
    record('rate', (this.pods.length / ms) * 1000);
    await this.#all('remove', width);
    record('memory', residentBytesOf(this.#process.pid) / 2 ** 20);
  }

  facts(): Readonly<Record<string, Fact>> {
    return { pods: this.pods.length };
  }

  async close(): Promise<readonly string[]> {
    try {
      await this.#process.call('attachment', 'purge');
      await this.#process.dispose('attachment');
      return leftovers(this.#before, tracesOf(this.node), this.node.name);
    } finally {
      await this.wire.close();
    }
  }
}

export async function attachmentSuite({ options, size, source, ...context }: SuiteContext): Promise<Suite> {
  const chosen = await select({ options, size, source, ...context }, 'attachment', options['attachment']);
  const beds = new Map<string, () => Promise<Bed>>([['bare veth', async () => new BareBed(size)]]);
  const cells = chosen.map((choice): CellPlan => {
    beds.set(choice.name, () => PluginBed.open(size, choice, source));
    const factors = { attachment: choice.name };
    return { id: choice.name, factors, baseline: 'bare veth', isBaseline: false, skip: choice.skip };
  });
  return {
    ...{ name: 'attachment', title: 'Attachments', metrics, options: { ...options }, versions: {} },
    summary:
      'Adding pods to a node and removing them, beside a bare veth pair with the same addresses and routes (no record ' +
      'on disk, no masquerade, no check that the pod is reachable).',
    cells: [{ id: 'bare veth', factors: { attachment: 'bare veth' }, isBaseline: true }, ...cells],
    open: (cell) => beds.get(cell.id)!(),
  };
}
