import type { Balancer } from './balancer.ts';

/** The pool for a client; undefined: there is none, the connection is reset. */
export type Choose = (client: string) => Balancer | undefined;

/** A listening socket with what hangs on it. */
export interface Front {
  readonly port: number;
  /** The pool changed. */
  refresh(): void;
  /** No new connections; those that are there go on. */
  close(): void;
  /** All ends at once. */
  destroy(): void;
}

export function plainAddress(address: string | undefined): string {
  return (address ?? '').replace(/^::ffff:/, '').replace(/%.*$/, '');
}
