/** Whether there is room for so many listeners: asked before the first of them is opened, not found out at the 20,000th. */
import { readFileSync, readdirSync } from 'node:fs';
import { readSysctl } from '../../linux/sysctl.ts';

export interface Room {
  /** That this process may still open. */
  readonly descriptors: number;
  /** That the kernel hands out, of TCP and of UDP each. */
  readonly ports: number;
}

export interface Need {
  /** Listeners to be opened. */
  readonly more: number;
  /** TCP or UDP listeners altogether, whichever are more. */
  readonly most: number;
}

/** Connections need both too: two descriptors each, and a port on the way to an endpoint. */
const reserve = { descriptors: 256, ports: 1_000 };

export function roomHere(): Room {
  const limit = Number(/^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1] ?? Infinity);
  const [first = 32_768, last = 60_999] =
    (readSysctl('net.ipv4.ip_local_port_range') ?? '').match(/\d+/g)?.map(Number) ?? [];
  return { descriptors: limit - readdirSync('/proc/self/fd').length, ports: last - first + 1 };
}

/** What is missing, as errno and words with the cure; undefined: nothing. */
export function lackOf(need: Need, room: Room): { readonly errno: string; readonly words: string } | undefined {
  const other = 'or choose another proxy, which needs none';
  if (need.more > room.descriptors - reserve.descriptors)
    return {
      errno: 'EMFILE',
      words: `${need.more} more listeners are needed, one a port of a Service, but this process may open only ${Math.max(0, room.descriptors)} descriptors more: expected room for them and ${reserve.descriptors} for connections; raise the limit of open files (LimitNOFILE, ulimit -n), ${other}`,
    };
  if (need.most > room.ports - reserve.ports)
    return {
      errno: 'EADDRINUSE',
      words: `${need.most} listeners are needed, one a port of a Service, but net.ipv4.ip_local_port_range holds ${room.ports} ports: expected room for them and ${reserve.ports} for connections; widen the range, ${other}`,
    };
  return undefined;
}
