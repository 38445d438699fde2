/** What a pod asks of a node: amounts in the scheduler contract's units, and host ports. */
import type { Resources } from '../../contract/index.ts';
import type { Container, Pod } from '../../contract/kubernetes.ts';
import { byteCount, cpuMillis } from '../quantity.ts';

type Amounts = Record<string, number>;

/** Pods and nodes come in few sizes, and exact parsing costs a microsecond each time. */
const parsed = new Map<string, number>();
const maxParsed = 4096;

function amount(name: string, text: string): number {
  const isCpu = name === 'cpu';
  const key = isCpu ? `cpu ${text}` : text;
  let value = parsed.get(key);
  if (value === undefined) {
    value = isCpu ? cpuMillis(text) : byteCount(text);
    if (parsed.size >= maxParsed) parsed.clear();
    parsed.set(key, value);
  }
  return value;
}

/** Quantities as the API writes them → millicores, bytes, pieces. */
export function amounts(quantities: Readonly<Record<string, string>> | undefined): Amounts {
  const result: Amounts = {};
  for (const [name, text] of Object.entries(quantities ?? {})) result[name] = amount(name, text);
  return result;
}

export function addAmounts(into: Amounts, more: Resources): void {
  for (const name in more) into[name] = (into[name] ?? 0) + (more[name] as number);
}

export function subtractAmounts(from: Amounts, less: Resources): void {
  for (const name in less) {
    const rest = (from[name] ?? 0) - (less[name] as number);
    if (rest === 0) delete from[name];
    else from[name] = rest;
  }
}

function raiseTo(into: Amounts, other: Resources): void {
  for (const name in other) into[name] = Math.max(into[name] ?? 0, other[name] as number);
}

const isSidecar = (container: Container) => container.restartPolicy === 'Always';

/**
 * KEP-753: containers and sidecars run together, and an init container runs beside the sidecars that started before it.
 * The pod needs the larger of both, plus its runtime's overhead. KEP-2837: requests of the whole pod replace the sum.
 */
function podTotals(pod: Pod, part: 'requests' | 'limits'): Amounts {
  const { containers, initContainers = [], resources: podLevel } = pod.spec;
  const total: Amounts = {};
  for (const container of containers) addAmounts(total, amounts(container.resources?.[part]));
  const sidecars: Amounts = {};
  const peak: Amounts = {};
  for (const container of initContainers) {
    const own = amounts(container.resources?.[part]);
    if (isSidecar(container)) {
      addAmounts(total, own);
      addAmounts(sidecars, own);
      raiseTo(peak, sidecars);
    } else {
      addAmounts(own, sidecars);
      raiseTo(peak, own);
    }
  }
  raiseTo(total, peak);
  Object.assign(total, amounts(podLevel?.[part]));
  return total;
}

export function podRequests(pod: Pod): Resources {
  const total = podTotals(pod, 'requests');
  addAmounts(total, amounts(pod.spec.overhead));
  total['pods'] = 1;
  return total;
}

/** The same sum over limits. What has no limit is not in it; overhead counts only where there is one. */
export function podLimits(pod: Pod): Resources {
  const total = podTotals(pod, 'limits');
  for (const [name, more] of Object.entries(amounts(pod.spec.overhead)))
    if (total[name] !== undefined) total[name] += more;
  return total;
}

export interface HostPort {
  readonly ip: string;
  readonly protocol: string;
  readonly port: number;
}

/** Host ports of containers and sidecars. "0.0.0.0" stands for every address of the node. */
export function podHostPorts(pod: Pod): readonly HostPort[] {
  const running = [...pod.spec.containers, ...(pod.spec.initContainers ?? []).filter(isSidecar)];
  return running.flatMap((container) =>
    (container.ports ?? [])
      .filter((port) => port.hostPort !== undefined && port.hostPort > 0)
      .map((port) => ({
        ip: port.hostIP === undefined || port.hostIP === '' ? '0.0.0.0' : port.hostIP,
        protocol: port.protocol ?? 'TCP',
        port: port.hostPort as number,
      })),
  );
}

/** As in NodeState.hostPorts. */
export function hostPortKey({ protocol, ip, port }: HostPort): string {
  return `${protocol}/${ip}/${port}`;
}
