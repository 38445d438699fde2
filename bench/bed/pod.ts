import { fileURLToPath } from 'node:url';
import type { Connections, Latencies, LoadArgs, PacedResult, ProbeResult, Target } from './pod-process.ts';
import type { Place } from './place.ts';
import { Remote } from './remote.ts';

const program = fileURLToPath(new URL('./pod-process.js', import.meta.url));

/** A pod's place, and the process in it. */
export class Pod {
  readonly place: Place;
  /** By family; set once the pod is attached. */
  readonly ips: readonly string[];
  readonly #remote: Remote;

  constructor(place: Place, ips: readonly string[]) {
    this.place = place;
    this.ips = ips;
    this.#remote = new Remote(`pod ${place.name}`, place.fork(program, []));
  }

  serve = (port: number): Promise<void> => this.#remote.call('serve', { port, name: this.place.name });
  unserve = (port: number): Promise<void> => this.#remote.call('unserve', { port });
  connections = (args: LoadArgs): Promise<Connections> => this.#remote.call('connections', args);
  requests = (args: LoadArgs): Promise<Latencies> => this.#remote.call('requests', args);
  /** At the first attempt: what is said to be there must be. */
  bulk = (target: Target, bytes: number): Promise<boolean> =>
    this.#remote.call('bulk', { ...target, bytes, isPatient: false });
  /** As soon as there is a way. */
  bulkOnceReached = (target: Target, bytes: number): Promise<boolean> =>
    this.#remote.call('bulk', { ...target, bytes, isPatient: true });
  datagram = (target: Target, bytes: number): Promise<boolean> => this.#remote.call('datagram', { ...target, bytes });
  whoami = (target: Target): Promise<string> => this.#remote.call('whoami', target);
  startProbe = (target: Target, perSecond: number, bytes: number): Promise<void> =>
    this.#remote.call('startProbe', { ...target, perSecond, bytes });
  probed = (): Promise<number> => this.#remote.call('probed');
  stopProbe = (): Promise<ProbeResult> => this.#remote.call('stopProbe');
  startPaced = (target: Target, perSecond: number): Promise<void> =>
    this.#remote.call('startPaced', { ...target, perSecond });
  stopPaced = (): Promise<PacedResult> => this.#remote.call('stopPaced');
}
