/** How fast attachments connect pods and let them go, beside the bare veth pair, addresses and routes that it takes. */
import type { Attached } from '../../../kernel/contract/index.ts';
import type { Place } from '../../bed/place.ts';
import { type PluginChoice, PluginProcess, type PluginSource } from '../../bed/plugin-process.ts';
import { residentBytesOf } from '../../bed/processes.ts';
import { leftovers, tracesOf } from '../../bed/traces.ts';
import { clusterCidrs, podCidr, Wire } from '../../bed/wire.ts';
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
import { capabilityFacts, select, type SuiteContext } from '../selection.ts';
import type { BareVethArgs, Took } from './bare-veth-job.ts';

interface Effort {
  readonly pods: number;
  readonly warmUps: number;
  readonly passes: number;
}

const efforts: Readonly<Record<Size, Effort>> = {
  smoke: { pods: 2, warmUps: 1, passes: 1 },
  standard: { pods: 12, warmUps: 2, passes: 2 },
  full: { pods: 100, warmUps: 1, passes: 3 },
};
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

type Act = (verb: 'add' | 'remove', atOnce: number) => Promise<Took>;

/** Passes over all pods: those that warm compilers and caches up, one pod after the other, several at once. */
async function measureAttaching({ pods, warmUps, passes }: Effort, act: Act, record: Recorder): Promise<void> {
  const took = { add: [] as number[], remove: [] as number[] };
  let together = 0;
  for (let pass = 0; pass < warmUps; pass += 1) for (const verb of ['add', 'remove'] as const) await act(verb, width);
  for (let pass = 0; pass < passes; pass += 1)
    for (const verb of ['add', 'remove'] as const) took[verb].push(...Array.from((await act(verb, 1)).took));
  for (let pass = 0; pass < passes; pass += 1) {
    together += (await act('add', width)).ms;
    await act('remove', width);
  }
  for (const verb of ['add', 'remove'] as const) {
    const sorted = ascending(took[verb]);
    record(`${verb}-p50`, quantile(sorted, 0.5));
    record(`${verb}-p99`, quantile(sorted, 0.99));
  }
  record('rate', ((pods * passes) / together) * 1000);
}

abstract class AttachmentBed implements Bed {
  readonly wire = new Wire(1);
  readonly pods: readonly Place[];
  protected readonly process: PluginProcess;
  protected readonly effort: Effort;

  constructor(size: Size, source: PluginSource) {
    this.effort = efforts[size];
    this.pods = Array.from({ length: this.effort.pods }, (_, index) => this.wire.pod(`pod${index}`));
    this.process = new PluginProcess(this.node, source, this.wire.places.folder);
  }

  get node(): Place {
    return this.wire.nodes[0]!;
  }

  abstract check(): Promise<readonly Check[]>;
  abstract measure(record: Recorder): Promise<void>;

  facts(): Readonly<Record<string, Fact>> {
    return { pods: this.effort.pods };
  }

  async close(): Promise<readonly string[]> {
    await this.wire.close();
    return [];
  }
}

/** A process as large as those that run plugins, without one. */
class BareBed extends AttachmentBed {
  async check(): Promise<readonly Check[]> {
    return [];
  }

  async measure(record: Recorder): Promise<void> {
    const pods = this.pods.map(({ netns }) => netns);
    const act: Act = (verb) =>
      this.process.job('bare-veth', { verb, node: this.node.netns, pods } satisfies BareVethArgs);
    await measureAttaching(this.effort, act, record);
  }
}

class PluginBed extends AttachmentBed {
  readonly #before = tracesOf(this.node);

  static async open(size: Size, choice: PluginChoice, source: PluginSource): Promise<PluginBed> {
    const bed = new PluginBed(size, source);
    try {
      await bed.process.start(choice);
      const network = { podCidrs: [podCidr(0, 'ipv4')], clusterCidrs: [clusterCidrs.ipv4], mtuBytes: 1450 };
      await bed.process.call('attachment', 'configure', network);
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

  async #all(verb: 'add' | 'remove', atOnce: number): Promise<Took> {
    const calls = this.pods.map((pod) =>
      verb === 'add' ? this.#add(pod) : [{ sandboxId: pod.name, netns: pod.netns }],
    );
    return this.process.series({ kind: 'attachment', verb, calls, width: atOnce });
  }

  async check(): Promise<readonly Check[]> {
    const [one, two] = this.pods as [Place, Place];
    const request = async (pod: Place): Promise<Attached> =>
      (await this.process.call<Attached>('attachment', 'add', ...this.#add(pod))).value;
    const [first, second] = [await request(one), await request(two)];
    const again = await request(one);
    const check1 = await this.process.call<readonly string[]>('attachment', 'check', {
      sandboxId: one.name,
      netns: one.netns,
    });
    const address = one.links((links) => links.listAddresses().map((each) => each.address));
    await this.#all('remove', 1);
    const listed = (await this.process.call<readonly Attached[]>('attachment', 'list')).value;
    return [
      check('two pods have two addresses', first.ips[0] !== second.ips[0], `${first.ips[0]}, ${second.ips[0]}`),
      check('a repeated add answers the same', again.ips.join() === first.ips.join()),
      check('the pod has its address', address.includes(first.ips[0] ?? ''), address.join(', ')),
      check('nothing is wrong with the attachment', check1.value.length === 0, check1.value.join('; ')),
      check('after the removal nothing is listed', listed.length === 0),
    ];
  }

  async measure(record: Recorder): Promise<void> {
    await measureAttaching(this.effort, (verb, atOnce) => this.#all(verb, atOnce), record);
    record('memory', residentBytesOf(this.process.pid) / 2 ** 20);
  }

  override async close(): Promise<readonly string[]> {
    try {
      await this.process.call('attachment', 'purge');
      await this.process.dispose('attachment');
      return leftovers(this.#before, tracesOf(this.node), this.node.name);
    } finally {
      await this.wire.close();
    }
  }
}

export async function attachmentSuite({ options, size, source, ...context }: SuiteContext): Promise<Suite> {
  const chosen = await select({ options, size, source, ...context }, 'attachment', options['attachment']);
  const factsOf = capabilityFacts(chosen);
  const beds = new Map<string, () => Promise<Bed>>([['bare veth', async () => new BareBed(size, source)]]);
  const cells = chosen.map((choice): CellPlan => {
    beds.set(choice.name, () => PluginBed.open(size, choice, source));
    const factors = { attachment: choice.name };
    return {
      id: choice.name,
      factors,
      baseline: 'bare veth',
      isBaseline: false,
      facts: factsOf(choice),
      skip: choice.skip,
    };
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
