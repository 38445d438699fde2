/** Which port of which pod a path of `pods/proxy` or `services/proxy` means. */
import { PintleError, type Cluster, type UserInfo } from '../../../../kernel/contract/index.ts';
import type { Pod } from '../../../../kernel/contract/kubernetes.ts';
import { resources } from '../../../../kernel/machinery/resources.ts';
import { badRequest } from '../status.ts';

export interface ProxyPlace {
  readonly pod: Pod;
  readonly port: number;
  readonly isTls: boolean;
}

interface Wanted {
  readonly namespace: string;
  readonly name: string;
}

/** `name`, `name:port`, `scheme:name:port` (an empty port is none). */
function partsOf(text: string): { readonly isTls: boolean; readonly name: string; readonly port: string } {
  const parts = text.split(':');
  const [scheme, name, port] = parts.length === 3 ? parts : ['http', ...parts];
  const isKnown = scheme === 'http' || scheme === 'https' || scheme === '';
  if (parts.length > 3 || !isKnown || !name)
    throw badRequest(`${JSON.stringify(text)} is not valid: expected NAME, NAME:PORT or SCHEME:NAME:PORT`);
  return { isTls: scheme === 'https', name, port: port ?? '' };
}

export async function podPlace(wanted: Wanted, cluster: Cluster, user: UserInfo | undefined): Promise<ProxyPlace> {
  const { isTls, name, port: text } = partsOf(wanted.name);
  const pod = await cluster.get(resources.pods, { namespace: wanted.namespace, name }, { user });
  const first = pod.spec.containers.flatMap(({ ports }) => ports ?? [])[0]?.containerPort ?? 80;
  const port = text === '' ? first : /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > 65_535) throw badRequest(`port ${JSON.stringify(text)} is not valid: expected 1 to 65535`);
  return { pod, port, isTls };
}

export async function servicePlace(wanted: Wanted, cluster: Cluster, user: UserInfo | undefined): Promise<ProxyPlace> {
  const { isTls, name, port: text } = partsOf(wanted.name);
  const { namespace } = wanted;
  const { spec } = await cluster.get(resources.services, { namespace, name }, { user });
  const ports = spec.ports ?? [];
  const chosen = ports.find((each) => String(each.port) === text || (text !== '' && each.name === text));
  const port = chosen ?? (text === '' && ports.length === 1 ? ports[0] : undefined);
  if (port === undefined) {
    const known = ports.map((each) => (each.name ? `${each.name} (${each.port})` : String(each.port))).join(', ');
    const asked = text === '' ? 'a port must be named' : `there is no port ${JSON.stringify(text)}`;
    throw badRequest(`service ${JSON.stringify(name)}: ${asked}, it has ${known || 'none'}`);
  }
  // As kube-apiserver does, with the server's own eyes: who may use the Service's proxy need not read its endpoints.
  const { items } = await cluster.list(resources.endpointSlices, {
    namespace,
    labelSelector: `kubernetes.io/service-name=${name}`,
  });
  const places = items.flatMap((slice) => {
    const number = slice.ports?.find((each) => (each.name ?? '') === (port.name ?? ''))?.port;
    const ready = (slice.endpoints ?? []).filter(
      ({ conditions, targetRef }) => conditions?.ready !== false && targetRef?.kind === 'Pod' && targetRef.name,
    );
    return number === undefined ? [] : ready.map(({ targetRef }) => ({ name: targetRef!.name!, number }));
  });
  const place = places[Math.floor(Math.random() * places.length)];
  if (place === undefined)
    throw new PintleError('UNAVAILABLE', `no endpoints available for service ${JSON.stringify(name)}`);
  const pod = await cluster.get(resources.pods, { namespace, name: place.name });
  return { pod, port: place.number, isTls };
}
