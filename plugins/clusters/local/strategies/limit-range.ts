/** LimitRanges: their own rules and defaults, and what they mean to new pods and claims (admission plugin LimitRanger). */
import type {
  Container,
  LimitRange,
  LimitRangeItem,
  PersistentVolumeClaim,
  Pod,
} from '../../../../kernel/contract/kubernetes.ts';
import { canonicalQuantity, parseQuantity } from '../../../../kernel/machinery/quantity.ts';
import { resources } from '../../../../kernel/machinery/resources.ts';
import { podLimits, podRequests } from '../../../../kernel/machinery/scheduling/pod-requests.ts';
import { forbidden } from '../api-errors.ts';
import type { FieldErrors } from '../validation/field-errors.ts';
import type { Strategy, StrategyContext } from './strategy.ts';

const annotation = 'kubernetes.io/limit-ranger';
type Quantities = Readonly<Record<string, string>>;

/** Limits come from the maximum, requests from the limits, failing that from the minimum. */
function fillItem(item: LimitRangeItem): void {
  if (item.type !== 'Container') return;
  item.default = { ...item.max, ...item.default };
  item.defaultRequest = { ...item.min, ...item.default, ...item.defaultRequest };
  for (const key of ['default', 'defaultRequest'] as const) if (Object.keys(item[key]!).length === 0) delete item[key];
}

function validateItem(item: LimitRangeItem, field: string, errors: FieldErrors): void {
  const ordered = [
    ['min', item.min],
    ['defaultRequest', item.defaultRequest],
    ['default', item.default],
    ['max', item.max],
  ] as const;
  for (const [index, [name, amounts]] of ordered.entries())
    for (const [later, more] of ordered.slice(index + 1))
      for (const [resource, quantity] of Object.entries(amounts ?? {})) {
        const bound = more?.[resource];
        if (bound !== undefined && parseQuantity(quantity) > parseQuantity(bound))
          errors.invalid(
            `${field}.${name}[${resource}]`,
            quantity,
            `${name} value ${quantity} is greater than ${later} value ${bound}`,
          );
      }
  for (const [resource, ratio] of Object.entries(item.maxLimitRequestRatio ?? {}))
    if (parseQuantity(ratio) < 1)
      errors.invalid(`${field}.maxLimitRequestRatio[${resource}]`, ratio, `ratio ${ratio} is less than 1`);
  if (item.type === 'Pod') {
    if (item.default) errors.forbidden(`${field}.default`, "may not be specified when `type` is 'Pod'");
    if (item.defaultRequest) errors.forbidden(`${field}.defaultRequest`, "may not be specified when `type` is 'Pod'");
  }
}

export const limitRange: Strategy<LimitRange> = {
  prepareCreate: ({ spec }) => (spec?.limits ?? []).forEach(fillItem),
  prepareUpdate: ({ spec }) => (spec?.limits ?? []).forEach(fillItem),
  validate({ spec }, errors) {
    for (const [index, item] of (spec?.limits ?? []).entries()) validateItem(item, `spec.limits[${index}]`, errors);
  },
};

/** What is missing of requests and limits, from every range of the namespace; the first that says something wins. */
function fillContainer(container: Container, items: readonly LimitRangeItem[]): string[] {
  const done: string[] = [];
  const kind = (names: readonly string[], what: string) => {
    if (names.length > 0) done.push(`${names.toSorted().join(', ')} ${what} for`);
  };
  const fill = (part: 'requests' | 'limits', from: 'defaultRequest' | 'default') => {
    const own: Record<string, string> = { ...container.resources?.[part] };
    const added: string[] = [];
    for (const item of items)
      for (const [name, quantity] of Object.entries(item[from] ?? {})) {
        if (own[name] !== undefined) continue;
        own[name] = quantity;
        added.push(name);
      }
    if (added.length > 0) container.resources = { ...container.resources, [part]: own };
    return added;
  };
  // A limit of its own is what a container without a request asks for (the API's default), before any range.
  const limits = container.resources?.limits ?? {};
  if (Object.keys(limits).length > 0)
    container.resources = { ...container.resources, requests: { ...limits, ...container.resources?.requests } };
  kind(fill('requests', 'defaultRequest'), 'request');
  kind(fill('limits', 'default'), 'limit');
  return done;
}

function boundsOf(
  type: string,
  { min, max, maxLimitRequestRatio }: LimitRangeItem,
  requests: Quantities,
  limits: Quantities,
): string[] {
  const faults: string[] = [];
  const of = (amounts: Quantities, name: string) =>
    amounts[name] === undefined ? undefined : parseQuantity(amounts[name]);
  for (const [name, bound] of Object.entries(min ?? {})) {
    const say = (what: string) => faults.push(`minimum ${name} usage per ${type} is ${bound}${what}`);
    const request = of(requests, name);
    const limit = of(limits, name);
    if (request === undefined) say('.  No request is specified');
    else if (request < parseQuantity(bound)) say(`, but request is ${requests[name]}`);
    else if (limit !== undefined && limit < parseQuantity(bound)) say(`, but limit is ${limits[name]}`);
  }
  for (const [name, bound] of Object.entries(max ?? {})) {
    const say = (what: string) => faults.push(`maximum ${name} usage per ${type} is ${bound}${what}`);
    const request = of(requests, name);
    const limit = of(limits, name);
    if (type === 'PersistentVolumeClaim') {
      if (request !== undefined && request > parseQuantity(bound)) say(`, but request is ${requests[name]}`);
    } else if (limit === undefined) say('.  No limit is specified');
    else if (limit > parseQuantity(bound)) say(`, but limit is ${limits[name]}`);
    else if (request !== undefined && request > parseQuantity(bound)) say(`, but request is ${requests[name]}`);
  }
  for (const [name, bound] of Object.entries(maxLimitRequestRatio ?? {})) {
    const say = (what: string) =>
      faults.push(`${name} max limit to request ratio per ${type} is ${bound}, but ${what}`);
    const request = of(requests, name);
    const limit = of(limits, name);
    if (!request) say('no request is specified or request is 0');
    else if (!limit) say('no limit is specified or limit is 0');
    else if (limit / request > parseQuantity(bound)) say(`provided ratio is ${(limit / request).toFixed(6)}`);
  }
  return faults;
}

/** Millicores, bytes and pieces as quantities. */
function asQuantities(amounts: Readonly<Record<string, number>>): Quantities {
  const text = (name: string, amount: number) =>
    name === 'cpu'
      ? canonicalQuantity(`${amount}m`)
      : canonicalQuantity(amount % 1024 === 0 && amount > 0 ? `${amount / 1024}Ki` : String(amount));
  return Object.fromEntries(
    Object.entries(amounts)
      .filter(([name]) => name !== 'pods')
      .map(([name, amount]) => [name, text(name, amount)]),
  );
}

function itemsOf(namespace: string, context: StrategyContext): readonly LimitRangeItem[] {
  return context.all(resources.limitRanges, namespace).flatMap(({ spec }) => spec?.limits ?? []);
}

const summed = (faults: readonly string[]) => (faults.length === 1 ? faults[0]! : `[${faults.join(', ')}]`);

export function admitPodLimits(pod: Pod, context: StrategyContext): void {
  const items = itemsOf(pod.metadata.namespace, context);
  if (items.length === 0) return;
  const ofContainers = items.filter(({ type }) => type === 'Container');
  const done: string[] = [];
  for (const [what, containers] of [
    ['container', pod.spec.containers],
    ['init container', pod.spec.initContainers ?? []],
  ] as const)
    for (const container of containers)
      done.push(...fillContainer(container, ofContainers).map((text) => `${text} ${what} ${container.name}`));
  if (done.length > 0)
    pod.metadata.annotations = {
      ...pod.metadata.annotations,
      [annotation]: `LimitRanger plugin set: ${done.join('; ')}`,
    };
  const faults = ofContainers.flatMap((item) =>
    [...pod.spec.containers, ...(pod.spec.initContainers ?? [])].flatMap(({ resources: own }) =>
      boundsOf('Container', item, own?.requests ?? {}, own?.limits ?? {}),
    ),
  );
  const ofPods = items.filter(({ type }) => type === 'Pod');
  if (ofPods.length > 0) {
    const requests = asQuantities(podRequests(pod));
    const limits = asQuantities(podLimits(pod));
    faults.push(...ofPods.flatMap((item) => boundsOf('Pod', item, requests, limits)));
  }
  if (faults.length > 0) throw forbidden(resources.pods, pod.metadata.name, summed(faults));
}

export function admitClaimLimits(claim: PersistentVolumeClaim, context: StrategyContext): void {
  const type = 'PersistentVolumeClaim';
  const faults = itemsOf(claim.metadata.namespace, context)
    .filter((item) => item.type === type)
    .flatMap((item) => boundsOf(type, item, claim.spec?.resources?.requests ?? {}, {}));
  if (faults.length > 0) throw forbidden(resources.persistentVolumeClaims, claim.metadata.name, summed(faults));
}
