/**
 * The loop that keeps an overlay's inventory: an audit soon after each notification, and again after a failure. Most audits
 * follow the overlay's own changes and find nothing.
 */
import { isPintleError, type Logger } from '../../../kernel/contract/index.ts';

/** Notifications are gathered for this long, so that a flush of many objects is one repair. */
const settleMs = 20;
const retryMs = 1_000;

export interface AuditWork {
  /** Brings the kernel to the inventory; returns the number of changes that were needed. */
  reconcile(): number;
  failed(reason: string): void;
  readonly log: Logger;
}

export class Audit {
  readonly #work: AuditWork;
  #repairs = 0;
  #told: string | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(work: AuditWork) {
    this.#work = work;
  }

  get repairs(): number {
    return this.#repairs;
  }

  schedule(delayMs = settleMs): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#run();
    }, delayMs);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #run(): void {
    try {
      const repaired = this.#work.reconcile();
      this.#told = undefined;
      this.#repairs += repaired;
      if (repaired > 0)
        this.#work.log.warn(
          'Overlay objects were put right: somebody else had changed them, or the underlay had moved',
          { repaired },
        );
    } catch (error) {
      const trouble = isPintleError(error) ? error.message : String(error);
      // Once a reason, not once a second: a vanished underlay may stay away for hours.
      if (trouble !== this.#told)
        this.#work.log.error('Overlay could not be repaired; trying again', { error: trouble });
      this.#told = trouble;
      this.#work.failed(trouble);
      this.schedule(retryMs);
    }
  }
}
