import { readFileSync } from 'node:fs';
import assert from 'node:assert/strict';
import test from 'ava';
import fc from 'fast-check';
import { isPintleError, type ErrorCode } from '../../../kernel/contract/index.ts';
import { decodeProtobuf } from '../../../kernel/machinery/schema/decode-protobuf.ts';
import { checkShape } from '../../../kernel/machinery/schema/validate.ts';
import { kindType } from '../../../kernel/machinery/schema/kinds.ts';

interface Recorded {
  readonly name: string;
  readonly command: string;
  readonly base64: string;
  readonly expected: unknown;
}
const recorded = JSON.parse(
  readFileSync(new URL('../../../../test/fixtures/protobuf/kubectl-1.33.json', import.meta.url), 'utf8'),
) as Recorded[];

/** Go prints null for an empty list or time that it does not leave out. */
function normal(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(normal);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, child]) => child !== null && !(Array.isArray(child) && child.length === 0))
      .map(([key, child]) => [key, normal(child)]),
  );
}

test('there are recordings', (t) => t.true(recorded.length >= 30));
for (const { name, command, base64, expected } of recorded) {
  test(`${name}: ${command}`, (t) => {
    const { apiVersion, kind, object } = decodeProtobuf(Buffer.from(base64, 'base64'));
    t.deepEqual(normal(object), normal(expected));
    t.is(object['kind'], kind);
    const report = checkShape(kindType(apiVersion, kind)!, object);
    t.deepEqual(report.unknownFields, []);
    t.deepEqual(report.causes, []);
  });
}

// A writer for the cases that kubectl does not send.
const varint = (value: number | bigint): number[] => {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest >= 128n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return [...bytes, Number(rest)];
};
const field = (number: number, body: readonly number[] | string): number[] => {
  const bytes = typeof body === 'string' ? [...Buffer.from(body)] : body;
  return [...varint(number * 8 + 2), ...varint(bytes.length), ...bytes];
};
const integer = (number: number, value: number | bigint): number[] => [...varint(number * 8), ...varint(value)];
const envelope = (apiVersion: string, kind: string, raw: readonly number[]): Buffer =>
  Buffer.from([...Buffer.from('k8s\0'), ...field(1, [...field(1, apiVersion), ...field(2, kind)]), ...field(2, raw)]);
const decode = (apiVersion: string, kind: string, raw: readonly number[]) =>
  decodeProtobuf(envelope(apiVersion, kind, raw)).object;

test('zero of an optional scalar stays, zero of another goes', (t) => {
  const object = decode('apps/v1', 'Deployment', field(2, [...integer(1, 0), ...integer(5, 0), ...integer(7, 0)]));
  t.deepEqual(object['spec'], { replicas: 0 });
});

test('negative and large integers', (t) => {
  const pod = (value: number | bigint) => decode('v1', 'Pod', field(2, integer(4, value)))['spec'];
  t.like(pod(-1), { terminationGracePeriodSeconds: -1 });
  t.like(pod(Number.MAX_SAFE_INTEGER), { terminationGracePeriodSeconds: Number.MAX_SAFE_INTEGER });
  t.throws(() => pod(2n ** 53n), { message: /beyond 2\^53/ });
});

test('packed and unpacked lists of numbers', (t) => {
  const context = (raw: readonly number[]) =>
    (decode('v1', 'Pod', field(2, field(14, raw)))['spec'] as { securityContext: unknown }).securityContext;
  t.deepEqual(context([...integer(4, 1), ...integer(4, 2)]), { supplementalGroups: [1, 2] });
  t.deepEqual(context(field(4, [1, 2, 3])), { supplementalGroups: [1, 2, 3] });
});

test('maps, times, quantities and unknown fields', (t) => {
  const object = decode('v1', 'ConfigMap', [
    ...field(1, [
      ...field(1, 'c'),
      ...field(8, [...integer(1, 0), ...integer(2, 0)]),
      ...field(9, []),
      ...field(11, [...field(1, '__proto__'), ...field(2, 'x')]),
    ]),
    ...field(2, field(1, 'empty')),
    ...field(3, [...field(1, 'bin'), ...field(2, [1, 2])]),
    ...field(99, 'later'),
    ...integer(98, 7),
    ...[...varint(97 * 8 + 5), 1, 2, 3, 4],
    ...[...varint(96 * 8 + 1), 1, 2, 3, 4, 5, 6, 7, 8],
  ]);
  t.deepEqual(object['data'], { empty: '' });
  t.deepEqual(object['binaryData'], { bin: 'AQI=' });
  const metadata = object['metadata'] as Record<string, unknown>;
  t.is(metadata['creationTimestamp'], '1970-01-01T00:00:00Z');
  t.false('deletionTimestamp' in metadata);
  t.is(JSON.stringify(metadata['labels']), '{"__proto__":"x"}');
  t.is(({} as Record<string, unknown>)['x'], undefined);
});

test('delete options of any group version', (t) => {
  t.deepEqual(decode('policy/v1', 'DeleteOptions', [...integer(1, 0), ...field(4, 'Background')]), {
    apiVersion: 'policy/v1',
    kind: 'DeleteOptions',
    gracePeriodSeconds: 0,
    propagationPolicy: 'Background',
  });
});

test('schemas within schemas', (t) => {
  const schema = [...field(5, 'object'), ...field(24, field(1, field(5, 'string'))), ...field(30, [...integer(1, 1)])];
  const version = field(4, field(1, schema));
  const object = decode('apiextensions.k8s.io/v1', 'CustomResourceDefinition', field(2, field(7, version)));
  const { versions } = object['spec'] as { versions: { schema: unknown }[] };
  t.deepEqual(versions[0]!.schema, {
    openAPIV3Schema: { type: 'object', items: { type: 'string' }, additionalProperties: true },
  });
});

let deep: number[] = [];
for (let level = 0; level < 1000; level++) deep = field(28, deep);
const many = Buffer.alloc(1_200_000);
for (let at = 0; at < many.length; at += 2) many.set([0x12, 0x00], at);

const valid = Buffer.from(recorded[0]!.base64, 'base64');
const malformed: [name: string, code: ErrorCode, bytes: Uint8Array][] = [
  ['nothing', 'BAD_REQUEST', Buffer.alloc(0)],
  ['JSON', 'BAD_REQUEST', Buffer.from('{"kind":"Pod"}')],
  ['only the magic', 'BAD_REQUEST', Buffer.from('k8s\0')],
  ['an unknown kind', 'BAD_REQUEST', envelope('example.com/v1', 'Thing', [])],
  ['a truncated body', 'BAD_REQUEST', valid.subarray(0, valid.length - 1)],
  [
    'a length beyond the end',
    'BAD_REQUEST',
    Buffer.from([...Buffer.from('k8s\0'), 0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
  ],
  ['an endless varint', 'BAD_REQUEST', Buffer.from([...Buffer.from('k8s\0'), ...Array<number>(20).fill(0xff)])],
  ['field number 0', 'BAD_REQUEST', envelope('v1', 'Pod', [0x02, 0x00])],
  ['a group', 'BAD_REQUEST', envelope('v1', 'Pod', [0x0b])],
  ['a wrong wire type', 'BAD_REQUEST', envelope('v1', 'Pod', integer(1, 1))],
  ['a wrong scalar wire type', 'BAD_REQUEST', envelope('v1', 'Pod', field(1, integer(1, 1)))],
  ['text that is not UTF-8', 'BAD_REQUEST', envelope('v1', 'Pod', field(1, field(1, [0xff, 0xfe])))],
  ['a time in year 300000', 'BAD_REQUEST', envelope('v1', 'Pod', field(1, field(8, integer(1, 2n ** 43n))))],
  [
    'embedded bytes that are not JSON',
    'BAD_REQUEST',
    envelope('apps/v1', 'ControllerRevision', field(2, field(1, '{'))),
  ],
  ['a compressed body', 'BAD_REQUEST', Buffer.concat([envelope('v1', 'Pod', []), Buffer.from(field(3, 'gzip'))])],
  [
    'a schema nested 1,000 deep',
    'BAD_REQUEST',
    envelope('apiextensions.k8s.io/v1', 'CustomResourceDefinition', field(2, field(7, field(4, field(1, deep))))),
  ],
  ['600,000 empty messages', 'BAD_REQUEST', envelopeOf('v1', 'PodList', many)],
  ['more than 3 MiB', 'TOO_LARGE', Buffer.alloc(3 * 1024 * 1024 + 1)],
];
function envelopeOf(apiVersion: string, kind: string, raw: Buffer): Buffer {
  return Buffer.concat([envelope(apiVersion, kind, []), Buffer.from([0x12, ...varint(raw.length)]), raw]);
}
for (const [name, code, bytes] of malformed) {
  test(`refused: ${name}`, (t) => {
    const error = t.throws(() => decodeProtobuf(bytes));
    t.true(isPintleError(error, code), String(error));
  });
}

test('damaged recordings are decoded or refused, never worse', (t) => {
  fc.assert(
    fc.property(fc.nat(recorded.length - 1), fc.nat(), fc.nat(255), (which, where, byte) => {
      const bytes = Buffer.from(recorded[which]!.base64, 'base64');
      bytes[4 + (where % (bytes.length - 4))] = byte;
      try {
        decodeProtobuf(bytes);
      } catch (error) {
        assert.ok(isPintleError(error, 'BAD_REQUEST'), String(error));
      }
    }),
    { numRuns: 2000 },
  );
  t.pass();
});
