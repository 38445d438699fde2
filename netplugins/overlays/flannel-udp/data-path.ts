import type { Counters } from './data-path-protocol.ts';
import type { PeerRoute } from './peer-table.ts';

/** Carries packets between a TUN device and a UDP socket until its process ends. */
export interface DataPath {
  /** What it found this kernel able to do, and uses. */
  readonly features: Readonly<Record<string, string>>;
  setPeers(peers: readonly PeerRoute[]): void;
  counters(): Counters;
  /** The index of the link that has the underlay address, when it changes; undefined: none has it. */
  setUnderlay?(link: number | undefined): void;
  /** Whether large packets that arrive whole go on to a bridge, when it changes. */
  setBridged?(isBridged: boolean): void;
  /** Takes away what the process's end would leave behind; called right before that. */
  close?(): void;
}
