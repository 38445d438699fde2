/** What brings traffic for service addresses to the listeners. */
import type { Context, IpFamily } from '../../linux/service-addresses.ts';
import type { Plan } from './plan.ts';

export interface Redirection {
  readonly plan: Plan;
  readonly context: Context;
  /** Where all listeners listen: an address of the node. */
  readonly address: string;
  /** Port of the listener by pool. */
  readonly ports: ReadonlyMap<string, number>;
}

export interface Redirector {
  readonly family: IpFamily;
  /** False before the first `apply` and after damage. */
  readonly isSound: boolean;
  /** Returns how many rules and elements differ. */
  apply(redirection: Redirection): Promise<number>;
  /** Brings back what was applied last. */
  repair(): Promise<void>;
  /** Removes every trace, whoever made it. */
  remove(): Promise<void>;
}
