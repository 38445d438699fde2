/**
 * The nodes as one pod class sees them: verdicts and scores, kept from pod to pod, with the best node on top. Only nodes
 * that changed since the last pod of this class are judged again, so a pod costs one judgement and O(log nodes), not one
 * judgement a node. Of equally good nodes the one that was judged longest ago is best, which is a round robin.
 */
import type { NodeState, PodClass, SchedulerPolicy } from '../../../kernel/contract/index.ts';
import { Heap } from '../../../kernel/machinery/heap.ts';
import { helplessReasons } from '../../../kernel/machinery/scheduling/preemption.ts';
import type { NodeCache } from './node-cache.ts';
import { volumeObjection, type VolumeNeeds } from './volume-needs.ts';

interface Candidate {
  readonly name: string;
  readonly score: number;
  readonly turn: number;
}

interface Judgement {
  readonly generation: number;
  /** Undefined: does not fit. */
  readonly candidate: Candidate | undefined;
  readonly reasons: readonly string[];
  readonly resolvable: boolean;
}

export class ClassView {
  readonly podClass: PodClass;
  readonly #policy: SchedulerPolicy;
  readonly #cache: NodeCache;
  readonly #random: () => number;
  readonly #volumes: VolumeNeeds | undefined;
  readonly #judgements = new Map<string, Judgement>();
  readonly #best = new Heap<Candidate>((a, b) => a.score > b.score || (a.score === b.score && a.turn < b.turn));
  #position = -1;
  #turn = 0;
  #failure: string | undefined;

  /** `volumes`: what the claims of every pod of the class ask for. */
  constructor(
    podClass: PodClass,
    policy: SchedulerPolicy,
    cache: NodeCache,
    random: () => number,
    volumes?: VolumeNeeds,
  ) {
    this.podClass = podClass;
    this.#policy = policy;
    this.#cache = cache;
    this.#random = random;
    this.#volumes = volumes;
  }

  /** True when a node changed since this class was last asked about. */
  get isOutdated(): boolean {
    return this.#position !== this.#cache.position;
  }

  /** The best node now, or undefined when none fits. Throws what the policy throws. */
  choose(): string | undefined {
    if (this.#volumes?.blocked !== undefined) {
      this.#position = this.#cache.position;
      return undefined;
    }
    this.#refresh();
    for (let top = this.#best.peek(); top !== undefined; top = this.#best.peek()) {
      if (this.#judgements.get(top.name)?.candidate === top) return top.name;
      this.#best.pop();
    }
    return undefined;
  }

  /** Why no node fits, in kube-scheduler's words. Valid after `choose` answered undefined. */
  failure(): string {
    if (this.#volumes?.blocked !== undefined) {
      const { size } = this.#cache.nodes;
      return size === 0 ? noNodes : `0/${size} nodes are available: ${this.#volumes.blocked}.`;
    }
    return (this.#failure ??= failureMessage(this.#judgements));
  }

  /** The policy's judgement and that of the volumes, of any state that a node could be in. */
  get judge(): SchedulerPolicy {
    const policy = this.#policy;
    const volumes = this.#volumes;
    if (volumes === undefined) return policy;
    return {
      ...policy,
      filter: (pod, node, cluster) => {
        const verdict = policy.filter(pod, node, cluster);
        if (!verdict.fits) return verdict;
        const objection = volumes.blocked ?? volumeObjection(volumes, node.node);
        return objection === undefined ? verdict : { fits: false, reasons: [objection], resolvable: false };
      },
      score: policy.score.bind(policy),
    };
  }

  /** Why sending pods away helps on no node, when there is none that could be sent. Valid like `failure`. */
  helplessness(): ReadonlyMap<string, number> {
    let resolvable = 0;
    for (const judgement of this.#judgements.values()) if (judgement.resolvable) resolvable++;
    return helplessReasons(resolvable, this.#cache.nodes.size - resolvable);
  }

  #refresh(): void {
    if (!this.isOutdated && this.podClass.local) return;
    const changes = this.#position < 0 ? undefined : this.#cache.changesSince(this.#position);
    this.#failure = undefined;
    if (changes === undefined || !this.podClass.local) this.#judgeAll();
    else for (const name of changes) this.#judge(name);
    if (this.#best.size > 2 * this.#judgements.size + 64) this.#compact();
    this.#position = this.#cache.position;
  }

  #judgeAll(): void {
    this.#judgements.clear();
    this.#best.clear();
    const names = [...this.#cache.nodes.keys()];
    // Shuffled, so that several classes do not all begin with the same nodes.
    for (let i = names.length - 1; i > 0; i--) {
      const j = Math.floor(this.#random() * (i + 1));
      [names[i], names[j]] = [names[j] as string, names[i] as string];
    }
    for (const name of names) this.#judge(name);
  }

  #judge(name: string): void {
    const node = this.#cache.nodes.get(name);
    if (node === undefined) {
      this.#judgements.delete(name);
      return;
    }
    if (this.#judgements.get(name)?.generation === node.generation) return;
    const verdict = this.#policy.filter(this.podClass, node, this.#cache);
    const { generation } = node;
    const objection = verdict.fits && this.#volumes && volumeObjection(this.#volumes, node.node);
    if (!verdict.fits || objection) {
      const reasons = verdict.fits ? [objection as string] : verdict.reasons;
      this.#judgements.set(name, {
        generation,
        candidate: undefined,
        reasons,
        resolvable: !verdict.fits && verdict.resolvable,
      });
      return;
    }
    const candidate = { name, score: this.#score(node), turn: this.#turn++ };
    this.#judgements.set(name, { generation, candidate, reasons: [], resolvable: false });
    this.#best.push(candidate);
  }

  #score(node: NodeState): number {
    const score = this.#policy.score(this.podClass, node, this.#cache);
    if (score >= 0 && score <= 100) return score;
    throw new Error(`The scheduling policy scored node ${node.name} with ${score}; expected a number from 0 to 100.`);
  }

  #compact(): void {
    this.#best.clear();
    for (const { candidate } of this.#judgements.values()) if (candidate !== undefined) this.#best.push(candidate);
  }
}

const noNodes = 'no nodes available to schedule pods';

function failureMessage(judgements: ReadonlyMap<string, Judgement>): string {
  if (judgements.size === 0) return noNodes;
  const counts = new Map<string, number>();
  for (const { reasons } of judgements.values())
    for (const reason of reasons) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  return `0/${judgements.size} nodes are available: ${countedReasons(counts)}.`;
}

/** "1 reason, 2 other reason" */
export function countedReasons(counts: ReadonlyMap<string, number>): string {
  return [...counts]
    .map(([reason, count]) => `${count} ${reason}`)
    .toSorted()
    .join(', ');
}
