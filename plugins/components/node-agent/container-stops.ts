/**
 * Ends containers without holding up their pod's queue: the preStop hook first, then, when it is its turn, the signal; all
 * of it within one grace period, which a later call can make shorter but not longer.
 */
import type { Container as ContainerDefinition, Pod } from '../../../kernel/contract/kubernetes.ts';
import type { Container } from '../../../kernel/contract/index.ts';
import { hookName, runHook } from './lifecycle-hooks.ts';
import type { ContainerStop, PodMemory, PodWorkerServices } from './pod-memory.ts';
import { allDefinitions } from './pod-status.ts';

/** What a container has left for its end when its hook or its turn has used up the grace period. */
const leastMs = 2_000;

export interface StopOrder {
  readonly graceMs: number;
  /** False: it waits for `proceed`, at most for the grace period. */
  readonly isTurn: boolean;
  /** Undefined: nothing is said, for it has been said. */
  readonly why: string | undefined;
  podIp(): string;
}

export class ContainerStops {
  readonly #services: PodWorkerServices;

  constructor(services: PodWorkerServices) {
    this.#services = services;
  }

  begin(pod: Pod | undefined, memory: PodMemory, container: Container, order: StopOrder): void {
    const killMs = this.#services.clock.now() + order.graceMs;
    const known = memory.stopping.get(container.id);
    if (known) {
      if (killMs < known.killMs) known.shorten(killMs);
      if (order.isTurn) known.proceed();
      return;
    }
    if (pod && order.why !== undefined) this.#services.record(pod, 'Normal', 'Killing', order.why);
    const definition = pod && allDefinitions(pod).find(({ name }) => name === container.name);
    const stop = new RunningStop(this.#services, pod, definition as ContainerDefinition | undefined, container, order);
    memory.stopping.set(container.id, stop);
    const uid = pod?.metadata.uid ?? container.sandboxId.slice(0, container.sandboxId.lastIndexOf('_'));
    void stop.run().then(
      () => {
        memory.stopping.delete(container.id);
        this.#services.again(uid);
      },
      (error: unknown) => {
        this.#services.log.error('cannot stop container', { container: container.id, error: String(error) });
        memory.stopping.delete(container.id);
        this.#services.again(uid, 1000);
      },
    );
  }
}

function gate(): { readonly opened: Promise<void>; open(): void } {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}

class RunningStop implements ContainerStop {
  readonly #services: PodWorkerServices;
  readonly #pod: Pod | undefined;
  readonly #definition: ContainerDefinition | undefined;
  readonly #container: Container;
  readonly #order: StopOrder;
  /** Aborted whenever the deadline moves, and at the end. */
  #timer = new AbortController();
  readonly #turn = gate();
  readonly #late = gate();
  #isTold = false;
  killMs: number;

  constructor(
    services: PodWorkerServices,
    pod: Pod | undefined,
    definition: ContainerDefinition | undefined,
    container: Container,
    order: StopOrder,
  ) {
    this.#services = services;
    this.#pod = pod;
    this.#definition = definition;
    this.#container = container;
    this.#order = order;
    this.killMs = services.clock.now() + order.graceMs;
    if (order.isTurn) this.proceed();
  }

  async run(): Promise<void> {
    const { runtime } = this.#services;
    this.#arm();
    try {
      const hasHook = this.#definition?.lifecycle?.preStop !== undefined && this.#order.graceMs > 0;
      const hook = hasHook ? this.#preStop() : undefined;
      if (hook) await Promise.race([hook, this.#late.opened]);
      await Promise.race([this.#turn.opened, this.#late.opened]);
      this.#isTold = true;
      const leftMs = Math.max(0, this.killMs - this.#services.clock.now());
      const isShort = this.#order.graceMs > 0 && (hasHook || !this.#order.isTurn) && leftMs < leastMs;
      await runtime.stopContainer(this.#container.id, isShort ? leastMs : leftMs);
    } finally {
      this.#timer.abort();
    }
  }

  proceed(): void {
    this.#turn.open();
  }

  shorten(killMs: number): void {
    this.killMs = killMs;
    this.#arm();
    if (!this.#isTold) return;
    const leftMs = Math.max(0, killMs - this.#services.clock.now());
    this.#services.runtime
      .stopContainer(this.#container.id, leftMs)
      .catch((error: unknown) => this.#services.log.warn('cannot stop container sooner', { error: String(error) }));
  }

  /** Resolves `late` when the deadline has come, wherever that has moved meanwhile. */
  #arm(): void {
    this.#timer.abort();
    const timer = new AbortController();
    this.#timer = timer;
    const { clock } = this.#services;
    void clock.sleep(Math.max(0, this.killMs - clock.now()), timer.signal).then(
      () => this.#late.open(),
      () => undefined,
    );
  }

  async #preStop(): Promise<void> {
    const { runtime, clock, record } = this.#services;
    const handler = this.#definition!.lifecycle!.preStop!;
    const place = {
      runtime,
      containerId: this.#container.id,
      container: this.#definition!,
      podIp: this.#order.podIp(),
    };
    const isOver = new AbortController();
    void this.#late.opened.then(() => isOver.abort());
    const outcome = await runHook(handler, place, clock, isOver.signal, this.#order.graceMs);
    if (!outcome.ok && this.#pod)
      record(this.#pod, 'Warning', 'FailedPreStopHook', `${hookName(handler)} failed: ${outcome.message}`);
  }
}
