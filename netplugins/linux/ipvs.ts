/**
 * The IP virtual server of one network namespace, through generic netlink. Owns one socket a handle. All verbs are
 * synchronous: the kernel answers inside send(2).
 */
import { isPintleError, PintleError } from '../../kernel/contract/index.ts';
import { findFamily, genericAttributes, genericBody, NETLINK_GENERIC } from './generic-netlink.ts';
import {
  decodeDestination,
  decodeService,
  decodeTimeouts,
  encodeDestination,
  encodeKey,
  encodeService,
  encodeTimeouts,
  familyOfKey,
  ipvsCommands,
  keyText,
  type IpvsDestination,
  type IpvsKey,
  type IpvsService,
  type IpvsTimeouts,
  type ListedDestination,
} from './ipvs-codec.ts';
import { isRefused } from './libc.ts';
import { NetlinkSocket, NLM_F_DUMP, type NetlinkRequest } from './netlink-socket.ts';

export interface DestinationChange {
  readonly verb: 'addDestination' | 'editDestination' | 'deleteDestination';
  readonly key: IpvsKey;
  readonly destination: IpvsDestination;
}

export type IpvsChange =
  | { readonly verb: 'addService' | 'editService'; readonly service: IpvsService }
  | { readonly verb: 'deleteService'; readonly key: IpvsKey }
  | DestinationChange;

export interface Ipvs {
  listServices(): IpvsService[];
  /** Undefined when there is none. */
  getService(key: IpvsKey): IpvsService | undefined;
  /** Empty when there is no such service. */
  listDestinations(key: IpvsKey): ListedDestination[];
  /**
   * Many changes in few system calls. What is as wanted already (there, or gone) is no error; the first error is thrown
   * after all were tried. Returns the destinations that the kernel never takes: broadcast and multicast addresses.
   */
  apply(changes: readonly IpvsChange[]): readonly DestinationChange[];
  getTimeouts(): IpvsTimeouts;
  setTimeouts(timeouts: IpvsTimeouts): void;
  close(): void;
}

const version = 1;

function requestOf(family: number, change: IpvsChange): NetlinkRequest {
  const make = (command: number, what: string, ...attributes: readonly Buffer[]): NetlinkRequest => ({
    type: family,
    flags: 0,
    body: genericBody(command, version, ...attributes),
    what,
  });
  switch (change.verb) {
    case 'addService':
    case 'editService': {
      const { service, verb } = change;
      const command = verb === 'addService' ? ipvsCommands.newService : ipvsCommands.setService;
      const what = `Setting IPVS service ${keyText(service.key)} with scheduler ${service.scheduler}`;
      return make(command, what, encodeService(service));
    }
    case 'deleteService':
      return make(ipvsCommands.deleteService, `Deleting IPVS service ${keyText(change.key)}`, encodeKey(change.key));
    default: {
      const { verb, key, destination } = change;
      const command = {
        addDestination: ipvsCommands.newDestination,
        editDestination: ipvsCommands.setDestination,
        deleteDestination: ipvsCommands.deleteDestination,
      }[verb];
      const what = `Setting destination ${destination.address} ${destination.port} of IPVS service ${keyText(key)}`;
      return make(command, what, encodeKey(key), encodeDestination(destination));
    }
  }
}

/** ESRCH: the service is gone; ENOENT: the destination is. */
function isDone({ verb }: IpvsChange, error: PintleError): boolean {
  if (verb === 'deleteService' || verb === 'deleteDestination') return isRefused(error, 'ESRCH', 'ENOENT');
  return (verb === 'addService' || verb === 'addDestination') && isRefused(error, 'EEXIST');
}

export function openIpvs(options: { readonly netns?: string | undefined } = {}): Ipvs {
  const socket = new NetlinkSocket(NETLINK_GENERIC, options);
  const family = findFamily(socket, 'IPVS');
  if (family === undefined) {
    socket.close();
    throw new PintleError(
      'KERNEL_REFUSED',
      'This kernel has no IP virtual server: expected the module ip_vs; load it (modprobe ip_vs), or use another kernel or proxy',
      { details: { errno: 'ENOENT', extack: '' } },
    );
  }
  const ask = (command: number, flags: number, what: string, ...attributes: readonly Buffer[]): Buffer[] =>
    socket
      .request({ type: family, flags, body: genericBody(command, version, ...attributes), what })
      .map(genericAttributes);
  const orNothing = <T>(nothing: T, act: () => T): T => {
    try {
      return act();
    } catch (error) {
      if (isPintleError(error) && isRefused(error, 'ESRCH', 'ENOENT')) return nothing;
      throw error;
    }
  };
  return {
    listServices: () =>
      ask(ipvsCommands.getService, NLM_F_DUMP, 'Listing IPVS services')
        .map(decodeService)
        .filter((service) => service !== undefined),
    getService: (key) =>
      orNothing(undefined, () => {
        const [answer] = ask(ipvsCommands.getService, 0, `Looking up IPVS service ${keyText(key)}`, encodeKey(key));
        return answer === undefined ? undefined : decodeService(answer);
      }),
    listDestinations: (key) =>
      orNothing([], () =>
        ask(
          ipvsCommands.getDestination,
          NLM_F_DUMP,
          `Listing destinations of IPVS service ${keyText(key)}`,
          encodeKey(key),
        ).map((answer) => decodeDestination(answer, familyOfKey(key))),
      ),
    apply(changes) {
      const errors = socket.transact(changes.map((change) => requestOf(family, change)));
      const refused: DestinationChange[] = [];
      let failed: PintleError | undefined;
      for (const [index, change] of changes.entries()) {
        const error = errors[index];
        if (error === undefined || isDone(change, error)) continue;
        if (change.verb === 'addDestination' && isRefused(error, 'EINVAL')) refused.push(change);
        else failed ??= error;
      }
      if (failed !== undefined) throw failed;
      return refused;
    },
    getTimeouts() {
      const [answer] = ask(ipvsCommands.getConfig, 0, 'Reading IPVS timeouts');
      return decodeTimeouts(answer ?? Buffer.alloc(0));
    },
    setTimeouts: (timeouts) => void ask(ipvsCommands.setConfig, 0, 'Setting IPVS timeouts', encodeTimeouts(timeouts)),
    close: () => socket.close(),
  };
}
