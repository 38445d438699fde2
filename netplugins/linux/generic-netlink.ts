/**
 * Generic netlink: families that kernel modules register by name. Looking a family up makes the kernel load its module
 * where it has one.
 */
import { Commands, formatMessage, parseMessage } from 'netlink/dist/genl/structs.js';
import { formatGenlHeader } from 'netlink/dist/structs.js';
import { isRefused } from './libc.ts';
import { encode, type NetlinkMessage, type NetlinkSocket } from './netlink-socket.ts';

export const NETLINK_GENERIC = 16;
const GENL_ID_CTRL = 16;
const genericHeaderBytes = 4;

/** Command, version and two bytes of nothing, then attributes. */
export function genericBody(command: number, version: number, ...attributes: readonly Uint8Array[]): Buffer {
  return Buffer.concat([formatGenlHeader({ cmd: command, version }), ...attributes]);
}

/** The attributes of a generic message. */
export function genericAttributes({ payload }: NetlinkMessage): Buffer {
  return payload.subarray(genericHeaderBytes);
}

/** The number under which this kernel knows a family; undefined when it has none of that name. */
export function findFamily(socket: NetlinkSocket, name: string): number | undefined {
  const body = genericBody(Commands.GET_FAMILY, 1, encode(formatMessage({ familyName: name })));
  try {
    const [answer] = socket.request({ type: GENL_ID_CTRL, flags: 0, body, what: `Looking for netlink family ${name}` });
    return answer === undefined ? undefined : parseMessage(genericAttributes(answer)).familyId;
  } catch (error) {
    if (isRefused(error, 'ENOENT')) return undefined;
    throw error;
  }
}
