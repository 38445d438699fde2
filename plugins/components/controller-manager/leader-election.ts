/**
 * Leader election by a Lease, with client-go's protocol and timers: the holder renews every `retryPeriod`; others take
 * over when the lease has not changed for `leaseDuration` by their own clock. The holder stops leading when it could not
 * renew for `renewDeadline`, which is before anybody else may begin.
 */
import { isPintleError, type Clock, type Cluster, type Logger } from '../../../kernel/contract/index.ts';
import type { Lease } from '../../../kernel/contract/kubernetes.ts';
import { pause } from '../../../kernel/machinery/clock.ts';
import { resources } from '../../../kernel/machinery/resources.ts';

export interface LeaderElectionOptions {
  readonly cluster: Cluster;
  readonly namespace: string;
  readonly name: string;
  readonly identity: string;
  readonly leaseDurationSeconds: number;
  readonly renewDeadlineSeconds: number;
  readonly retryPeriodSeconds: number;
  readonly log: Logger;
  readonly clock: Clock;
}

export class LeaderElection {
  readonly #options: LeaderElectionOptions;
  #observed: { readonly version: string; readonly at: number } | undefined;
  #isLeader = false;

  constructor(options: LeaderElectionOptions) {
    this.#options = options;
  }

  get isLeader(): boolean {
    return this.#isLeader;
  }

  /** Runs `work` whenever this process leads. Resolves after the signal aborted, when `work` has ended. */
  async lead(work: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (await this.#tryAcquire()) await this.#leadOnce(work, signal);
      await this.#pause(signal);
    }
  }

  async #leadOnce(work: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    const { clock, log, identity, renewDeadlineSeconds } = this.#options;
    const lost = new AbortController();
    const working = AbortSignal.any([signal, lost.signal]);
    this.#isLeader = true;
    log.info('this process leads', { identity });
    const renewing = (async () => {
      let renewedAt = clock.now();
      while (!working.aborted) {
        await this.#pause(working);
        if (working.aborted) return;
        if (await this.#tryAcquire()) renewedAt = clock.now();
        else if (clock.now() - renewedAt > renewDeadlineSeconds * 1000) lost.abort();
      }
    })();
    try {
      await work(working);
    } finally {
      lost.abort();
      await renewing;
      this.#isLeader = false;
      log.info('this process leads no more', { identity });
    }
    if (signal.aborted) await this.#release();
  }

  async #pause(signal: AbortSignal): Promise<void> {
    const { clock, retryPeriodSeconds } = this.#options;
    await pause(clock, retryPeriodSeconds * 1000 * (1 + 0.2 * Math.random()), signal);
  }

  /** True when this process holds the lease, freshly renewed. */
  async #tryAcquire(): Promise<boolean> {
    const { cluster, namespace, name, identity, leaseDurationSeconds, clock, log } = this.#options;
    const now = new Date(clock.now()).toISOString().replace('Z', '000Z');
    const held = { holderIdentity: identity, leaseDurationSeconds: Math.ceil(leaseDurationSeconds), renewTime: now };
    try {
      const lease = await this.#read();
      if (lease === undefined) {
        const spec = { ...held, acquireTime: now, leaseTransitions: 0 };
        await cluster.create(resources.leases, { metadata: { namespace, name }, spec });
        return true;
      }
      const { resourceVersion } = lease.metadata;
      if (this.#observed?.version !== resourceVersion) this.#observed = { version: resourceVersion, at: clock.now() };
      const isOurs = lease.spec.holderIdentity === identity;
      const isHeld = lease.spec.holderIdentity !== undefined && lease.spec.holderIdentity !== '';
      if (!isOurs && isHeld && clock.now() - this.#observed.at < leaseDurationSeconds * 1000) return false;
      const transition = isOurs ? {} : { acquireTime: now, leaseTransitions: (lease.spec.leaseTransitions ?? 0) + 1 };
      await cluster.update(resources.leases, { ...lease, spec: { ...lease.spec, ...held, ...transition } });
      return true;
    } catch (error) {
      if (!isPintleError(error, 'CONFLICT', 'ALREADY_EXISTS'))
        log.warn('the leader lease could not be read or written', { error: String(error) });
      return false;
    }
  }

  async #read(): Promise<Lease | undefined> {
    const { cluster, namespace, name } = this.#options;
    try {
      return await cluster.get(resources.leases, { namespace, name });
    } catch (error) {
      if (isPintleError(error, 'NOT_FOUND')) return undefined;
      throw error;
    }
  }

  /** So that the next one need not wait for the lease to run out. */
  async #release(): Promise<void> {
    try {
      const lease = await this.#read();
      if (lease?.spec.holderIdentity !== this.#options.identity) return;
      const spec = { ...lease.spec, holderIdentity: '', leaseDurationSeconds: 1 };
      await this.#options.cluster.update(resources.leases, { ...lease, spec });
    } catch (error) {
      this.#options.log.debug('the leader lease could not be released', { error: String(error) });
    }
  }
}
