/**
 * The pods that wait for a node. Active: to be tried now, by priority, then by age. Backing off: tried in vain because of
 * an error, to be tried after 1 s, 2 s ... 10 s. Parked: no node fitted; woken one by one, by class, when a change of the
 * cluster lets the class fit again, so that one free place does not wake ten thousand pods.
 */
import type { Pod } from '../../../kernel/contract/kubernetes.ts';
import { backoffDelay } from '../../../kernel/machinery/backoff.ts';
import { Heap } from '../../../kernel/machinery/heap.ts';

export interface PendingPod {
  readonly key: string;
  pod: Pod;
  classId: string;
  readonly order: number;
  state: 'active' | 'backoff' | 'parked' | 'taken';
  attempts: number;
  notBefore: number;
  /** Raised with every move, so that older entries in the heaps are known to be void. */
  move: number;
}

interface Entry {
  readonly pod: PendingPod;
  readonly move: number;
  readonly priority: number;
  readonly at: number;
}

const backoff = { minMs: 1000, maxMs: 10_000 };

const byUrgency = (a: Entry, b: Entry) =>
  a.priority > b.priority || (a.priority === b.priority && a.pod.order < b.pod.order);

export class PendingPods {
  readonly #pods = new Map<string, PendingPod>();
  readonly #active = new Heap<Entry>(byUrgency);
  readonly #backoff = new Heap<Entry>((a, b) => a.at < b.at);
  readonly #parked = new Map<string, Heap<Entry>>();
  readonly #woken = new Map<string, PendingPod>();
  #order = 0;

  get(key: string): PendingPod | undefined {
    return this.#pods.get(key);
  }

  counts(): { active: number; backoff: number; unschedulable: number } {
    const counts = { active: 0, backoff: 0, unschedulable: 0 };
    for (const { state } of this.#pods.values()) {
      if (state === 'active') counts.active++;
      else if (state === 'backoff') counts.backoff++;
      else if (state === 'parked') counts.unschedulable++;
    }
    return counts;
  }

  /** A pod that is new, or whose class or priority changed, becomes active; of others only the object is replaced. */
  put(key: string, pod: Pod, classId: string): void {
    const known = this.#pods.get(key);
    if (known !== undefined && known.pod.metadata.uid === pod.metadata.uid) {
      const isSame = known.classId === classId && known.pod.spec.priority === pod.spec.priority;
      known.pod = pod;
      if (!isSame) this.#forgetWoken(known);
      known.classId = classId;
      if (!isSame && known.state !== 'taken') this.#activate(known);
      return;
    }
    const order = this.#order++;
    const added: PendingPod = { key, pod, classId, order, state: 'active', attempts: 0, notBefore: 0, move: 0 };
    this.#pods.set(key, added);
    this.#activate(added);
  }

  remove(key: string): void {
    const pod = this.#pods.get(key);
    if (pod === undefined) return;
    pod.move++;
    pod.state = 'taken';
    this.#pods.delete(key);
    this.#forgetWoken(pod);
  }

  /** The most urgent pod, or undefined. The caller places it, parks it, or retries it. */
  take(now: number): PendingPod | undefined {
    for (let due = this.#top(this.#backoff); due !== undefined && due.at <= now;) {
      this.#backoff.pop();
      this.#activate(due.pod);
      due = this.#top(this.#backoff);
    }
    const next = this.#top(this.#active);
    if (next === undefined) return undefined;
    this.#active.pop();
    next.pod.state = 'taken';
    next.pod.move++;
    next.pod.attempts++;
    this.#forgetWoken(next.pod);
    return next.pod;
  }

  /** After an error: back in a while. */
  retry(pod: PendingPod, now: number): void {
    if (this.#pods.get(pod.key) !== pod) return;
    pod.notBefore = now + backoffDelay(pod.attempts, backoff);
    this.#wait(pod);
  }

  /** No node fits: wait for a change. */
  park(pod: PendingPod, now: number): void {
    if (this.#pods.get(pod.key) !== pod) return;
    pod.notBefore = now + backoffDelay(pod.attempts, backoff);
    pod.state = 'parked';
    let heap = this.#parked.get(pod.classId);
    if (heap === undefined) this.#parked.set(pod.classId, (heap = new Heap(byUrgency)));
    heap.push(entry(pod));
  }

  /** Classes with parked pods of which none has been woken yet. */
  *parkedClasses(): Iterable<string> {
    for (const [classId, heap] of this.#parked) {
      if (this.#top(heap) === undefined) this.#parked.delete(classId);
      else if (!this.#woken.has(classId)) yield classId;
    }
  }

  /** Lets the most urgent parked pod of this class try again, as soon as its backoff allows. */
  wake(classId: string, now: number): void {
    const heap = this.#parked.get(classId);
    const next = heap === undefined ? undefined : this.#top(heap);
    if (heap === undefined || next === undefined) return;
    heap.pop();
    this.#woken.set(classId, next.pod);
    if (next.pod.notBefore <= now) this.#activate(next.pod);
    else this.#wait(next.pod);
  }

  /** Lets this pod try again at once, if it is parked: something was done for it. */
  wakePod(key: string): void {
    const pod = this.#pods.get(key);
    if (pod?.state === 'parked') this.#activate(pod);
  }

  /** When the next pod's backoff ends. */
  nextRetryAt(): number | undefined {
    return this.#top(this.#backoff)?.pod.notBefore;
  }

  #activate(pod: PendingPod): void {
    pod.state = 'active';
    this.#active.push(entry(pod));
  }

  #wait(pod: PendingPod): void {
    pod.state = 'backoff';
    this.#backoff.push(entry(pod));
  }

  #forgetWoken(pod: PendingPod): void {
    if (this.#woken.get(pod.classId) === pod) this.#woken.delete(pod.classId);
  }

  #top(heap: Heap<Entry>): Entry | undefined {
    let top = heap.peek();
    while (top !== undefined && top.pod.move !== top.move) {
      heap.pop();
      top = heap.peek();
    }
    return top;
  }
}

function entry(pod: PendingPod): Entry {
  return { pod, move: ++pod.move, priority: pod.pod.spec.priority ?? 0, at: pod.notBefore };
}
