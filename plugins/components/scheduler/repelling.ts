/**
 * The placed pods that keep others away: required anti-affinity works in both directions, so a pod without any rule of its
 * own may still not go everywhere. Kept by what they ask for, as the replicas of one workload ask for the same.
 */
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import { stableText } from '../../../kernel/machinery/stable-text.ts';
import { hasAntiAffinity, termsOf, type Term } from '../../../kernel/machinery/scheduling/pod-terms.ts';

type Namespaces = ReadonlyMap<string, Readonly<Record<string, string>>>;

interface Wish {
  readonly pod: Pod;
  count: number;
  namespaces?: Namespaces;
  terms: readonly Term[];
}

export class Repelling {
  readonly #wishes = new Map<string, Wish>();
  readonly #wishOf = new Map<string, string>();

  add(key: string, pod: Pod): void {
    if (!hasAntiAffinity(pod)) return;
    const { namespace, labels } = pod.metadata;
    const required = pod.spec.affinity?.podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
    const needsLabels = required?.some((term) => term.matchLabelKeys ?? term.mismatchLabelKeys);
    const wish = stableText([namespace, required, needsLabels ? labels : undefined]);
    this.#wishOf.set(key, wish);
    const known = this.#wishes.get(wish);
    if (known === undefined) this.#wishes.set(wish, { pod, count: 1, terms: [] });
    else known.count++;
  }

  remove(key: string): void {
    const wish = this.#wishOf.get(key);
    if (wish === undefined) return;
    this.#wishOf.delete(key);
    const known = this.#wishes.get(wish)!;
    if (--known.count === 0) this.#wishes.delete(wish);
  }

  concerns(pod: Pod, namespaces: Namespaces): boolean {
    for (const wish of this.#wishes.values()) {
      if (wish.namespaces !== namespaces) {
        wish.terms = termsOf(wish.pod, namespaces).antiAffinity;
        wish.namespaces = namespaces;
      }
      if (wish.terms.some((term) => term.matches(pod))) return true;
    }
    return false;
  }
}
