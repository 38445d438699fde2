/**
 * The frame of every service proxy: one thing at a time, a status, explanations, repairs after damage, an end. What a mode
 * does in the kernel is its own.
 */
import {
  isPintleError,
  PintleError,
  type Clock,
  type Logger,
  type Proxy,
  type ProxyPort,
  type ProxyState,
  type ProxyStatus,
  type ServiceVerdict,
} from '../../kernel/contract/index.ts';
import { trackingProblem, unservedPorts } from './sctp-support.ts';
import { PortComparison } from './port-fragments.ts';
import { decide, type Decision, type ServiceFlow } from './service-decision.ts';

export interface RepairingProxyOptions {
  readonly name: string;
  readonly log: Logger;
  readonly clock: Pick<Clock, 'now'>;
  readonly netns?: string | undefined;
  /** Why this mode cannot serve SCTP wherever it runs; undefined: it can where the kernel tracks it. */
  readonly sctpProblem?: string | undefined;
}

/** Damage rarely comes alone. */
const settleMs = 50;
const retryMs = 1_000;

export abstract class RepairingProxy implements Proxy, AsyncDisposable {
  readonly #frame: RepairingProxyOptions;
  /** What all parts of the proxy compare the last list of ports with the next by. */
  protected readonly comparison = new PortComparison();
  #desired: ProxyState | undefined;
  #stop: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #turn: Promise<void> = Promise.resolve();
  #lastSyncMs: number | undefined;
  #trouble: string | undefined = 'not synced yet';
  /** What of the desired state it does not do, as this mode or this kernel cannot. */
  #shortcoming: string | undefined;
  #repairs = 0;
  #closed = false;

  constructor({ name, log, clock, netns, sctpProblem }: RepairingProxyOptions) {
    this.#frame = { name, log, clock, netns, sctpProblem };
  }

  /** Makes the kernel what is desired, and begins to `watch` it. Returns the number of changes. */
  protected abstract bring(desired: ProxyState): Promise<number>;
  /** Mends what is damaged, and tells `mended` of it. */
  protected abstract mend(): Promise<void>;
  /** Removes every trace. */
  protected abstract remove(): Promise<void>;
  /** The kernel objects behind a decision; undefined: this mode has nothing to do with such flows. */
  protected abstract objectsOf(
    decision: Decision,
    flow: ServiceFlow,
    from: 'pod' | 'node' | 'outside',
  ): Promise<ServiceVerdict['objects'] | undefined>;
  /** For people, when all is well: by what means it works. */
  protected note(): string | undefined {
    return undefined;
  }
  /** Frees what the process holds. */
  protected release(): void {}

  sync(desired: ProxyState): Promise<{ readonly changed: number }> {
    return this.inTurn(async () => {
      const { name, clock } = this.#frame;
      if (this.#closed) throw new PintleError('UNAVAILABLE', `Proxy ${name} is disposed: expected no sync any more`);
      try {
        const changed = await this.bring(desired);
        const before = this.#desired;
        this.#desired = desired;
        this.#trouble = undefined;
        this.#lastSyncMs = clock.now();
        this.#sayWhatIsUnserved(desired, before);
        return { changed };
      } catch (error) {
        this.#trouble = messageOf(error);
        throw error;
      }
    });
  }

  status(): ProxyStatus {
    return {
      ready: this.#trouble === undefined,
      reason: this.#trouble ?? reasonOf(this.#shortcoming, this.note()),
      lastSyncMs: this.#lastSyncMs,
      repairs: this.#repairs,
    };
  }

  async explain(flow: ServiceFlow, from: 'pod' | 'node' | 'outside'): Promise<ServiceVerdict | undefined> {
    const decision = this.#desired && decide(this.#desired, flow, from);
    if (decision === undefined) return undefined;
    const objects = await this.objectsOf(decision, flow, from);
    if (objects === undefined) return undefined;
    const { service, via, verdict, reason, endpoints } = decision;
    return { service, via, verdict, reason, endpoints, objects };
  }

  purge(): Promise<void> {
    return this.inTurn(async () => {
      this.#unwatch();
      this.#trouble = 'purged';
      this.#desired = undefined;
      await this.remove();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#unwatch();
    await this.#turn.catch(() => undefined);
    this.release();
  }

  protected inTurn<T>(act: () => Promise<T>): Promise<T> {
    const run = this.#turn.then(act);
    this.#turn = run.then(
      () => undefined,
      () => undefined,
    );
    return run;
  }

  /** Begins to look out for damage, unless that has begun. `start` returns the way to stop. */
  protected watch(start: () => () => void): void {
    this.#stop ??= start();
  }

  protected get isWatching(): boolean {
    return this.#stop !== undefined;
  }

  /** Damage was noticed: it is mended in a moment, in turn. */
  protected damaged(delayMs = settleMs): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.inTurn(() => this.#repair());
    }, delayMs);
  }

  protected mended(family: string): void {
    this.#repairs += 1;
    this.#frame.log.warn('What the service proxy has in the kernel had been changed by somebody else: mended', {
      proxy: this.#frame.name,
      family,
    });
  }

  #sayWhatIsUnserved({ ports }: ProxyState, before: ProxyState | undefined): void {
    const isSctp = ({ protocol }: ProxyPort): boolean => protocol === 'SCTP';
    if (before !== undefined) {
      // One of ten thousand ports has changed, usually, and none with SCTP.
      const { head, tail } = this.comparison.of(before.ports, ports);
      const changed = (of: readonly ProxyPort[]): readonly ProxyPort[] => of.slice(head, of.length - tail);
      if (![...changed(before.ports), ...changed(ports)].some(isSctp)) return;
    }
    const sctp = ports.filter(isSctp);
    const why = sctp.length === 0 ? undefined : (this.#frame.sctpProblem ?? trackingProblem(this.#frame));
    const shortcoming = why === undefined ? undefined : `${unservedPorts(sctp)}: ${why}`;
    if (shortcoming !== undefined && shortcoming !== this.#shortcoming)
      this.#frame.log.warn('The service proxy does not serve every port', { proxy: this.#frame.name, shortcoming });
    this.#shortcoming = shortcoming;
  }

  #unwatch(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#stop?.();
    this.#stop = undefined;
  }

  async #repair(): Promise<void> {
    if (this.#closed || !this.isWatching) return;
    try {
      await this.mend();
      if (this.#lastSyncMs !== undefined) this.#trouble = undefined;
    } catch (error) {
      const trouble = messageOf(error);
      if (trouble !== this.#trouble)
        this.#frame.log.error('Service proxy could not be repaired; trying again', { error: trouble });
      this.#trouble = trouble;
      this.damaged(retryMs);
    }
  }
}

function reasonOf(...parts: readonly (string | undefined)[]): string | undefined {
  const said = parts.filter((part) => part !== undefined);
  return said.length === 0 ? undefined : said.join('; ');
}

const messageOf = (error: unknown): string => (isPintleError(error) ? error.message : String(error));
