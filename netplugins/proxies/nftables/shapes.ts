/**
 * The chains that send to addresses for which the rules for all do not do: those with more than `drawnSlots` endpoints, and
 * those with session affinity. They are by shape, not by service: services of one shape have theirs in common, and what
 * tells services apart is data in maps. Pure.
 *
 *   shapes        address . protocol . port            -> number of the shape
 *   shape-chains  number of the shape                  -> its chain: the only verdicts in a map
 *   endpoints     address . protocol . port . number   -> endpoint; the number is a slot's, with affinity the endpoint's own
 *   ids           address . protocol . port . slot     -> the endpoint's own number, where there is affinity
 *   clients       endpoint's own number . client, until the time-out: filled by the packet path
 *
 * Rules cannot hand a number on but in a field of the packet. The packet's priority is that field: only the first packet of a
 * connection to such a service comes here, and gets priority 0 in the end (see `forgetNumber`).
 */
import type { IpFamily } from '../../linux/service-addresses.ts';
import { drawnSlots, type Chain, type Element } from './table-change.ts';

export interface Shape {
  /** Of session affinity; 0 without. */
  readonly seconds: number;
  /** `drawnSlots`, or the power of two that is large enough. */
  readonly size: number;
  /** Whether it draws from the local endpoints of an external address. */
  readonly isLocal: boolean;
}

/** What Kubernetes takes when nothing is said. */
const usualSeconds = 10_800;

/** Draws from more slots than there are: one that is empty is drawn anew, but not for ever. */
const tries = 8;

export const sizeFor = (count: number): number => Math.max(drawnSlots, 2 ** Math.ceil(Math.log2(count)));

/** A number as nft writes a packet's priority: "a:2a30". */
export const numberText = (number: number): string =>
  `${(number >>> 16).toString(16)}:${(number & 0xffff).toString(16)}`;

const firstSlot = (isLocal: boolean): number => (isLocal ? 2 : 1) << 16;

export const slotNumber = (slot: number, isLocal: boolean): string => numberText(firstSlot(isLocal) + slot);

const localPrefix = ({ isLocal }: Pick<Shape, 'isLocal'>): string => (isLocal ? 'local-' : '');

/** The shape of an address whose packets are dropped. */
const drop = numberText(1);

export const shapeNumber = ({ seconds, size, isLocal }: Shape): string =>
  numberText(seconds * 64 + Math.log2(size) * 2 + (isLocal ? 1 : 0));

const service = (family: IpFamily): string => `${family} daddr . meta l4proto . th dport`;

/** Sends packets to addresses with a shape to its chain. */
export const toShape = (family: IpFamily, map: 'shapes' | 'local-shapes'): string =>
  `meta priority set ${service(family)} map @${map}% meta priority vmap @shape-chains%`;

/** For the first packet of a connection, which is translated by then: nobody else shall see the number. */
export const forgetNumber = (asked: string): readonly string[] =>
  ['shapes', 'local-shapes'].map((map) => `meta priority set ${asked} map @${map}% meta priority set 0:0`);

const toEndpoint = (family: IpFamily): string => `dnat ${family} to ${service(family)} . meta priority map @endpoints%`;

/**
 * What begins the rules that draw a slot of a large size, which more than half of its slots have an endpoint of. The last
 * draws from the half that is full; it is reached by less than one in 256.
 */
const largeDraws = ({ size, isLocal }: Shape): string[] =>
  [...Array.from({ length: tries }, () => size), size / 2].map(
    (from) => `meta priority set numgen random mod ${from} offset ${firstSlot(isLocal)}`,
  );

/** As `drawRules`: slot n is tried by one in n + 1. */
const smallDraws = ({ size, isLocal }: Shape): string[] =>
  Array.from({ length: size }, (_, index) => size - 1 - index).map(
    (slot) => `${slot === 0 ? '' : `numgen random mod ${slot + 1} 0 `}meta priority set ${slotNumber(slot, isLocal)}`,
  );

const findName = (shape: Shape): string => `${localPrefix(shape)}find-${shape.size}%`;

/** Returns with the number of the endpoint that the client is remembered at, or else of one that is drawn. */
function findChain(shape: Shape, family: IpFamily): Chain {
  const toId = `meta priority set ${service(family)} . meta priority map @ids%`;
  const slots = Array.from({ length: shape.size }, (_, slot) => slotNumber(slot, shape.isLocal));
  return {
    name: findName(shape),
    rules: [
      ...slots.map((slot) => `meta priority set ${slot} ${toId} meta priority . ${family} saddr @clients return`),
      ...(shape.size === drawnSlots ? smallDraws(shape) : largeDraws(shape)).map((draw) => `${draw} ${toId} return`),
    ],
  };
}

/** Its chains, and the element that leads to them. */
export function renderShape(
  shape: Shape,
  family: IpFamily,
): { readonly elements: readonly Element[]; readonly chains: readonly Chain[] } {
  const { seconds, size } = shape;
  const name = `${localPrefix(shape)}${seconds === 0 ? 'pick' : `sticky-${seconds}`}-${size}%`;
  const rules =
    seconds === 0
      ? largeDraws(shape).map((draw) => `${draw} ${toEndpoint(family)}`)
      : [
          `jump ${findName(shape)}`,
          // When the set is full, the client is sent on all the same.
          `update @clients { meta priority . ${family} saddr timeout ${seconds}s }`,
          toEndpoint(family),
        ];
  return {
    elements: [{ set: 'shape-chains', key: shapeNumber(shape), data: `goto ${name}` }],
    chains: [...(seconds === 0 ? [] : [findChain(shape, family)]), { name, rules }],
  };
}

export const dropShape: { readonly number: string; readonly element: Element } = {
  number: drop,
  element: { set: 'shape-chains', key: drop, data: 'drop' },
};

/** Those that most services with a shape have: made once, so that such a service is elements alone. */
export const usualShapes: readonly Shape[] = [
  ...[32, 64, 128, 256, 512, 1_024].map((size) => ({ seconds: 0, size, isLocal: false })),
  ...[32, 64, 128].map((size) => ({ seconds: 0, size, isLocal: true })),
  ...[drawnSlots, 32, 64].map((size) => ({ seconds: usualSeconds, size, isLocal: false })),
  { seconds: usualSeconds, size: drawnSlots, isLocal: true },
];
