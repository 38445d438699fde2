/** The views of all pod classes, made when they are first asked for, and let go when there are too many judgements. */
import type { PodClass, SchedulerPolicy } from '../../../kernel/contract/index.ts';
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import { classOf, fullClassKey } from '../../../kernel/machinery/scheduling/pod-class.ts';
import { ClassView } from './class-view.ts';
import type { NodeCache } from './node-cache.ts';
import type { VolumeNeeds } from './volume-needs.ts';

/** Judgements kept over all classes: about 100 bytes each. */
const maxJudgements = 400_000;

export class ClassViews {
  readonly #views = new Map<string, ClassView>();
  readonly #cache: NodeCache;
  readonly #random: () => number;

  constructor(cache: NodeCache, random: () => number) {
    this.#cache = cache;
    this.#random = random;
  }

  get(classId: string): ClassView | undefined {
    return this.#views.get(classId);
  }

  delete(classId: string): void {
    this.#views.delete(classId);
  }

  ensure(classId: string, podClass: PodClass, policy: SchedulerPolicy, volumes: VolumeNeeds | undefined): ClassView {
    let view = this.#views.get(classId);
    // Least recently used first.
    if (view !== undefined) this.#views.delete(classId);
    else {
      view = new ClassView(podClass, policy, this.#cache, this.#random, volumes);
      this.#evict();
    }
    this.#views.set(classId, view);
    return view;
  }

  /** The view in which this pod is to be placed now. One that others keep away is a case of its own, labels and all. */
  forPod(classId: string, pod: Pod, policy: SchedulerPolicy, volumes: VolumeNeeds | undefined): ClassView {
    const known = this.#views.get(classId)?.podClass ?? classOf(pod, policy);
    if (!known.local || !this.#cache.repels(pod)) return this.ensure(classId, known, policy, volumes);
    const key = fullClassKey(pod);
    return this.ensure(`${classId}\0${key}`, { ...known, pod, key, local: false }, policy, volumes);
  }

  #evict(): void {
    const limit = Math.max(8, Math.floor(maxJudgements / Math.max(1, this.#cache.nodes.size)));
    for (const classId of this.#views.keys()) {
      if (this.#views.size < limit) return;
      this.#views.delete(classId);
    }
  }
}
