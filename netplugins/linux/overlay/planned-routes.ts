/** Routes that an overlay keeps exactly: the changes that get the kernel there, and how they are made. */
import type { PintleError } from '../../../kernel/contract/index.ts';
import { AF_INET, parseCidr } from '../ip-address.ts';
import { RT_TABLE_MAIN, type NewRoute, type Route, type RtChange, type Rtnetlink } from '../rtnetlink.ts';

export interface WantedRoute {
  readonly destination: string;
  /** Undefined: what is sent there needs no next hop (a tunnel's device). */
  readonly gateway?: string | undefined;
  readonly link: number;
  readonly onlink?: boolean;
  /** Who made it (RTPROT_*); undefined: not compared. */
  readonly protocol?: number;
}

/** RTN_UNICAST: leads somewhere. */
export const unicast = 1;

/** RTPROT_KERNEL: routes that the kernel keeps by itself (local, multicast, link-local). */
export const byKernel = 2;

/** In the place where an overlay puts its routes: the main table, at the metric that the kernel gives by itself. */
export function isAtHome({ destination, table, metric }: Route): boolean {
  return table === RT_TABLE_MAIN && metric === (parseCidr(destination).family === AF_INET ? 0 : 1024);
}

/**
 * From `found`, the routes that belong to the overlay, to exactly `wanted`. What is wrong under a destination that is wanted
 * is replaced in one step, without a moment of nothing.
 */
export function planRoutes(
  wanted: readonly WantedRoute[],
  found: readonly Route[],
): { readonly removals: RtChange[]; readonly additions: RtChange[] } {
  const byDestination = new Map(wanted.map((route) => [route.destination, route]));
  const isGood = (route: Route): boolean => {
    const want = byDestination.get(route.destination);
    return (
      want !== undefined &&
      isAtHome(route) &&
      route.type === unicast &&
      route.gateway === want.gateway &&
      route.link === want.link &&
      route.onlink === (want.onlink ?? false) &&
      (want.protocol === undefined || route.protocol === want.protocol)
    );
  };
  const good = new Set(found.filter(isGood).map(({ destination }) => destination));
  const removals = found
    .filter((route) => !isGood(route))
    .filter((route) => {
      const want = byDestination.get(route.destination);
      return want === undefined || good.has(route.destination) || !isAtHome(route) || hidesGateway(route, want);
    })
    .map((route): RtChange => ({ verb: 'deleteRoute', route: identityOf(route) }));
  const additions = wanted
    .filter(({ destination }) => !good.has(destination))
    .map((route): RtChange => ({ verb: 'replaceRoute', route }));
  return { removals, additions };
}

/**
 * IPv6 refuses an on-link gateway to which another link leads ("invalid gateway or device mismatch"), and so to replace a
 * route that does: it has to go first.
 */
function hidesGateway(route: Route, { gateway, link, onlink = false }: WantedRoute): boolean {
  return onlink && gateway?.includes(':') === true && route.link !== link;
}

/** What tells a route from all others, for its deletion. */
export function identityOf({ destination, gateway, table, metric, link }: Route): NewRoute {
  return { destination, gateway, table, metric, ...(link === undefined ? {} : { link }) };
}

/** Makes the changes. What was to be deleted and is gone already counts as nothing. Throws the first failure, after all. */
export function applyChanges(links: Rtnetlink, changes: readonly RtChange[]): number {
  let changed = 0;
  const failures: PintleError[] = [];
  links.apply(changes).forEach((error, index) => {
    if (error === undefined) changed += 1;
    else if (changes[index]?.verb.startsWith('delete') !== true || !isGone(error)) failures.push(error);
  });
  if (failures[0] !== undefined) throw failures[0];
  return changed;
}

function isGone(error: PintleError): boolean {
  return ['ENOENT', 'ESRCH', 'ENODEV', 'ENXIO'].includes(String(error.details['errno']));
}
