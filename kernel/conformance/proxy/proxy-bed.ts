/** What the proxy kit's cases are made of: the network under test, and the tools to ask it. */
import type { Protocol, Proxy, ProxyCapability, ProxyEndpoint, ProxyPort, ProxyState } from '../../contract/index.ts';
import type { KitAssertions, KitCase } from '../kit.ts';
import { plainEndpoint, plainPort } from './plain-port.ts';

/** `local`: a pod of the proxy's node, itself an endpoint. `node`: a process of the node. `outside`: beyond the node. */
export type ProxyClient = 'local' | 'node' | 'outside';

export type ProxyAnswer =
  | { readonly endpoint: 'local' | 'remote'; readonly client: string }
  /** At once, by RST or ICMP. */
  | 'refused'
  /** Nothing came back. */
  | 'dropped';

export interface ProxyBed {
  proxy(): Proxy & AsyncDisposable;
  /** Disposes it and starts another. */
  restart(): Promise<Proxy>;
  /**
   * Opens a new flow. The endpoints listen on port 80, TCP, UDP and SCTP. `sourcePort` reuses a UDP flow. Who asks `inVain`
   * expects no answer and does not wait for it long; any other waits until even a busy machine must have answered.
   */
  connect(
    from: ProxyClient,
    to: {
      readonly address: string;
      readonly port: number;
      readonly protocol?: Protocol;
      readonly sourcePort?: number;
      readonly inVain?: boolean;
    },
  ): Promise<ProxyAnswer>;
  /** A pod on this node (the client `local`) and one on another. */
  readonly localAddress: string;
  readonly remoteAddress: string;
  /** Of the node, where NodePorts answer. */
  readonly nodeAddress: string;
  readonly outsideAddress: string;
  readonly clusterCidrs: readonly string[];
  /** In it are the addresses of Services. */
  readonly serviceCidrs: readonly string[];
  /** Addresses that clients route to the node: two of Services, one external, one of a balancer. */
  readonly serviceAddresses: readonly [string, string];
  readonly externalAddress: string;
  readonly balancerAddress: string;
  /** Why no SCTP can be sent here, as by a kernel without such sockets; the rules are looked at all the same. */
  readonly sctpProblem?: string | undefined;
  /** How many times slower than real ones its processors are; limits of time are stretched by it. Default 1. */
  readonly slowdown?: number | undefined;
  /** How long a repair may take on this machine. Default: two seconds. */
  readonly repairMs?: number;
  traces(): Promise<string>;
  readonly damages: readonly { readonly what: string; inflict(): Promise<void> }[];
}

export type Case = KitCase<ProxyBed, ProxyCapability>;

export const repairMs = 2_000;
/** So many draws of two endpoints show both, but for one in a million runs. */
export const draws = 20;

/** Where each connection takes long: another endpoint than the one expected is missed once in sixty-four runs. */
const fewDraws = 6;

export interface Tools {
  readonly bed: ProxyBed;
  readonly local: ProxyEndpoint;
  readonly remote: ProxyEndpoint;
  port(change?: Partial<ProxyPort>): ProxyPort;
  sync(...ports: readonly ProxyPort[]): Promise<number>;
  /** Draws that show that there is one endpoint only. */
  readonly few: number;
  /** The endpoints (or 'refused', 'dropped') that `count` new TCP connections meet; `inVain`: as in `connect`. */
  met(from: ProxyClient, address: string, port: number, count?: number, inVain?: boolean): Promise<string>;
  /** What becomes of one new TCP connection that no endpoint is to get. */
  metInVain(from: ProxyClient, address: string, port: number): Promise<string>;
}

export function toolsFor(bed: ProxyBed): Tools {
  const local = plainEndpoint(bed.localAddress, { port: 80, local: true });
  const remote = plainEndpoint(bed.remoteAddress, { port: 80 });
  const port = (change: Partial<ProxyPort> = {}): ProxyPort =>
    plainPort({
      namespace: 'kit',
      port: 8000,
      clusterIps: [bed.serviceAddresses[0]],
      endpoints: [local, remote],
      ...change,
    });
  const isSlow = (bed.slowdown ?? 1) > 1;
  const met: Tools['met'] = async (from, address, to, count = draws, inVain = false) => {
    const seen = new Set<string>();
    for (let index = 0; index < count; index += 1) {
      const answer = await bed.connect(from, { address, port: to, inVain });
      seen.add(typeof answer === 'string' ? answer : answer.endpoint);
      if (answer === 'dropped') break;
      // Where each connection takes long, no more is drawn than can still say something.
      if (isSlow && seen.has('local') && seen.has('remote')) break;
    }
    return [...seen].sort().join(' ');
  };
  return {
    bed,
    local,
    remote,
    port,
    few: isSlow ? fewDraws : draws,
    sync: async (...ports) => {
      const { nodeAddress, clusterCidrs, serviceCidrs } = bed;
      const desired: ProxyState = { nodeAddresses: [nodeAddress], clusterCidrs, serviceCidrs, ports };
      return (await bed.proxy().sync(desired)).changed;
    },
    met,
    metInVain: (from, address, to) => met(from, address, to, 1, true),
  };
}

/** A case on ready-made tools. */
export function kitCase(
  title: string,
  needs: readonly ProxyCapability[],
  run: (t: KitAssertions, tools: Tools, vip: string, secondVip: string) => Promise<void>,
): Case {
  return { title, needs, run: (t, bed) => run(t, toolsFor(bed), ...bed.serviceAddresses) };
}
