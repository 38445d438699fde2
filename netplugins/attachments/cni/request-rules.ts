/** Which pod ranges will do, and when two requests ask for the same. */
import {
  PintleError,
  type AttachmentRequest,
  type HostPort,
  type NodeNetwork,
} from '../../../kernel/contract/index.ts';
import { AF_INET, parseCidr } from '../../linux/ip-address.ts';

type Asked = Pick<AttachmentRequest, 'hostPorts' | 'bandwidth'>;

export function validate({ podCidrs }: NodeNetwork): void {
  for (const range of podCidrs) {
    const { prefixLength, family } = parseCidr(range);
    if (prefixLength <= (family === AF_INET ? 30 : 126)) continue;
    throw new PintleError('INVALID', `Pod range ${range} is too small: expected at least a gateway and one pod`);
  }
}

export function isSame(record: Asked, request: Asked): boolean {
  const ports = (all: readonly HostPort[]): string =>
    all
      .map(({ hostIp, hostPort, containerPort, protocol }) => [hostIp, hostPort, containerPort, protocol].join(' '))
      .sort()
      .join();
  const limits = ({ bandwidth }: Asked): string =>
    [bandwidth?.ingressBitsPerSecond, bandwidth?.egressBitsPerSecond].join();
  return ports(record.hostPorts) === ports(request.hostPorts) && limits(record) === limits(request);
}
