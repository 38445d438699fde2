/**
 * What a node can tell and try of its network, for `pintle trace` and `pintle doctor`: read from the live kernel at the
 * time of asking, changing nothing but two listeners that close by themselves. Addresses are text; sizes are bytes, times
 * milliseconds.
 */
import type { Protocol } from './proxy.ts';

/** One object in the kernel (or a process) that a packet meets. */
export interface TraceStep {
  readonly what:
    'link' | 'route' | 'neighbour' | 'fdb' | 'service' | 'firewall' | 'conntrack' | 'setting' | 'tunnel' | 'socket';
  /** As the host's own tools print it: "10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink". */
  readonly shown: string;
  /** Why the packet fares badly here; undefined: all is well. */
  readonly problem?: Problem | undefined;
}

export interface Problem {
  /** What is so, and what follows from it. */
  readonly text: string;
  /** The command, or what else cures it. */
  readonly cure?: string | undefined;
  /** The packet goes no further. */
  readonly isFatal: boolean;
}

export interface TraceFlow {
  readonly protocol: Protocol;
  readonly destination: string;
  readonly port: number;
}

/** Where a packet that a node was asked about ends. */
export type TraceEnd =
  /** In a pod of this node, or at a process of the node itself. */
  | { readonly kind: 'pod'; readonly address: string }
  | { readonly kind: 'node' }
  /** On the wire, to a node of the cluster (`name`) or to somebody else. */
  | { readonly kind: 'leaves'; readonly to: string; readonly node: string | undefined; readonly mtuBytes: number }
  | { readonly kind: 'dies' };

/** One way that the packet may take: there are as many as a Service has endpoints. */
export interface TracePath {
  /** The destination after address translation. */
  readonly flow: TraceFlow;
  readonly steps: readonly TraceStep[];
  readonly end: TraceEnd;
}

export interface TraceAnswer {
  /** Common to all paths, in the order in which the packet meets them: first inside the pod, then on the node. */
  readonly inPod: readonly TraceStep[];
  readonly onNode: readonly TraceStep[];
  /** Empty: it ended before there was a choice. */
  readonly paths: readonly TracePath[];
}

/** Something that is wrong on a node, or about to be. */
export interface Finding extends Problem {
  /** Which check found it: "forward-policy", "conntrack-room" ... */
  readonly check: string;
}

export interface ProbeTarget {
  readonly node: string;
  readonly address: string;
  readonly tcpPort: number;
  readonly udpPort: number;
  /** The largest packet that must get through in one piece. */
  readonly mtuBytes: number;
}

export interface ProbeResult {
  readonly node: string;
  readonly address: string;
  /** Median of a few small round trips; undefined: none came back. */
  readonly roundTripMs: number | undefined;
  /** A datagram of exactly `mtuBytes` with "do not fragment" came back. */
  readonly fullSize: boolean;
  /** The largest datagram that did; undefined when not even a small one did. */
  readonly largestBytes: number | undefined;
  /** 256 KiB over one TCP connection came back as they were; not tried, and false, without `fullSize`. */
  readonly bulk: boolean;
}

export interface Listening {
  /** Addresses of this node inside its pod ranges (reached through the overlay), and of the underlay. */
  readonly overlay: readonly string[];
  readonly underlay: readonly string[];
  readonly tcpPort: number;
  readonly udpPort: number;
  readonly podMtuBytes: number;
  readonly underlayMtuBytes: number;
}

export type NetworkQuestion =
  | {
      readonly ask: 'trace';
      /** `pod`: it sends. `node`: a process of the node sends. `arrival`: it came in over the wire. */
      readonly from: { readonly kind: 'pod'; readonly address: string } | { readonly kind: 'node' | 'arrival' };
      readonly flow: TraceFlow;
    }
  | { readonly ask: 'findings' }
  /** Opens echo listeners for at most `seconds`. */
  | { readonly ask: 'listen'; readonly seconds: number }
  | { readonly ask: 'probe'; readonly targets: readonly ProbeTarget[] };

export interface NetworkAnswers {
  trace: TraceAnswer;
  findings: readonly Finding[];
  listen: Listening;
  probe: readonly ProbeResult[];
}
