import { readFileSync } from 'node:fs';
import assert from 'node:assert/strict';
import test from 'ava';
import fc from 'fast-check';
import { isPintleError } from '../../../kernel/contract/index.ts';
import { applyPatch, trackUpdate, type ApplyOptions } from '../../../kernel/machinery/apply/apply.ts';
import {
  decodeFieldSet,
  difference,
  encodeFieldSet,
  intersection,
  isEmptySet,
  leaves,
  printPath,
  union,
  type FieldSet,
} from '../../../kernel/machinery/apply/field-set.ts';
import { isObject, type JsonObject } from '../../../kernel/machinery/json-value.ts';
import { checkShape } from '../../../kernel/machinery/schema/validate.ts';

interface Step {
  readonly apply: boolean;
  readonly manager: string;
  readonly force: boolean;
  readonly object: JsonObject;
  readonly expected?: JsonObject;
  readonly owners?: [operation: string, manager: string, fields: JsonObject][];
  readonly error?: string;
}
const sequences = JSON.parse(
  readFileSync(new URL('../../../../test/fixtures/oracle/apply.json', import.meta.url), 'utf8'),
) as Step[][];

const options = (more: Partial<ApplyOptions>): ApplyOptions => ({
  schemaType: 'core/v1.Pod',
  manager: 'a',
  apiVersion: 'v1',
  now: '2026-01-01T00:00:00Z',
  force: false,
  ...more,
});

/** Go prints empty structs and counts an empty `resources` as a field of its own. */
function significant(value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item) => significant(item) ?? {});
  if (!isObject(value)) return value ?? undefined;
  const entries = Object.entries(value)
    .map(([key, child]) => [key, significant(child)] as const)
    .filter(([, child]) => child !== undefined);
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}
function comparable(fields: unknown): unknown {
  if (!isObject(fields)) return fields;
  const entries = Object.entries(fields).filter(
    ([key, child]) => !(key === 'f:resources' && Object.keys(child as object).length === 0),
  );
  return Object.fromEntries(
    entries.map(([key, child]) => {
      if (key !== 'f:resources' || !isObject(child)) return [key, comparable(child)];
      const { '.': _, ...rest } = child;
      return [key, comparable(rest)];
    }),
  );
}

interface Owned {
  readonly metadata: {
    readonly managedFields?: {
      operation: string;
      manager: string;
      fieldsV1: JsonObject;
      time?: string;
      subresource?: string;
    }[];
  } & JsonObject;
}
const ownersOf = (object: object): [string, string, unknown][] =>
  ((object as Owned).metadata.managedFields ?? []).map(({ operation, manager, fieldsV1 }) => [
    operation,
    manager,
    comparable(fieldsV1),
  ]);
const byName = (left: unknown, right: unknown): number => (JSON.stringify(left) < JSON.stringify(right) ? -1 : 1);

test('there are enough sequences', (t) => t.true(sequences.length >= 30));
for (const [index, steps] of sequences.entries()) {
  test(`sequence ${index} of ${steps.length} steps`, (t) => {
    let live: JsonObject | undefined;
    for (const { apply, manager, force, object, expected, owners, error } of steps) {
      const given = checkShape('core/v1.Pod', object).object;
      const run = (): JsonObject =>
        apply
          ? applyPatch(live, given, options({ manager, force })).object
          : trackUpdate(live, given, options({ manager }));
      if (error !== undefined) {
        const thrown = t.throws(run, { message: error });
        t.true(isPintleError(thrown, 'CONFLICT'));
        continue;
      }
      const result = run();
      const { managedFields: _, ...metadata } = result['metadata'] as JsonObject;
      t.deepEqual(significant({ ...result, metadata, status: undefined }), expected);
      t.deepEqual(
        ownersOf(result).sort(byName),
        owners!
          .map(([operation, name, fields]) => [operation, name, comparable(fields)] as [string, string, unknown])
          .sort(byName),
      );
      live = result;
    }
  });
}

const pod = (spec: JsonObject, labels?: JsonObject): JsonObject => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'p', ...(labels && { labels }) },
  spec,
});

test('applying the same again changes nothing, not even a time', (t) => {
  const config = pod({ containers: [{ name: 'c', image: 'i' }] }, { a: 'b' });
  const first = applyPatch<JsonObject>(undefined, config, options({}));
  t.true(first.changed);
  const second = applyPatch(first.object, config, options({ now: '2027-01-01T00:00:00Z' }));
  t.false(second.changed);
  t.is(second.object, first.object);
});

test('what an applier no longer names goes, unless another owns it', (t) => {
  const first = applyPatch<JsonObject>(
    undefined,
    pod({ containers: [{ name: 'c', image: 'i' }], nodeName: 'n', hostname: 'h' }),
    options({}),
  ).object;
  const shared = applyPatch(
    first,
    pod({ containers: [{ name: 'c', image: 'i' }], hostname: 'h' }),
    options({ manager: 'b' }),
  ).object;
  const after = applyPatch(shared, pod({ containers: [{ name: 'c', image: 'i' }] }), options({})).object;
  t.deepEqual(after['spec'], { containers: [{ name: 'c', image: 'i' }], hostname: 'h' });
});

test('a conflict names field and owner; force takes over', (t) => {
  const live = applyPatch<JsonObject>(undefined, pod({ containers: [{ name: 'c', image: 'i' }] }), options({})).object;
  const other = pod({ containers: [{ name: 'c', image: 'j' }] });
  const error = t.throws(() => applyPatch(live, other, options({ manager: 'b' })), {
    message: 'Apply failed with 1 conflict: conflict with "a": .spec.containers[name="c"].image',
  });
  if (isPintleError(error))
    t.deepEqual(error.details.causes, [
      { reason: 'FieldManagerConflict', message: 'conflict with "a"', field: '.spec.containers[name="c"].image' },
    ]);
  const forced = applyPatch(live, other, options({ manager: 'b', force: true })).object;
  t.like(forced, { spec: { containers: [{ image: 'j' }] } });
  t.false(JSON.stringify(ownersOf(forced).find(([, manager]) => manager === 'a')).includes('f:image'));
});

test('an object from before the first apply belongs to before-first-apply', (t) => {
  const { object } = applyPatch(
    pod({ containers: [{ name: 'c', image: 'i' }] }),
    pod({ containers: [{ name: 'c', image: 'i' }] }),
    options({}),
  );
  t.deepEqual(
    ownersOf(object).map(([operation, manager]) => [operation, manager]),
    [
      ['Apply', 'a'],
      ['Update', 'before-first-apply'],
    ],
  );
});

test('kubectl takes over what its client-side apply set', (t) => {
  const config = pod({ containers: [{ name: 'c', image: 'i' }] });
  const annotated = {
    ...config,
    metadata: {
      name: 'p',
      annotations: { 'kubectl.kubernetes.io/last-applied-configuration': JSON.stringify(config) },
    },
  };
  const live = trackUpdate(undefined, annotated, options({ manager: 'kubectl-client-side-apply' }));
  const next = pod({ containers: [{ name: 'c', image: 'j' }] });
  t.true(
    isPintleError(
      t.throws(() => applyPatch(live, next, options({ manager: 'someone' }))),
      'CONFLICT',
    ),
  );
  t.like(applyPatch(live, next, options({ manager: 'kubectl' })).object, { spec: { containers: [{ image: 'j' }] } });
});

test('status is owned through its subresource only', (t) => {
  const created = trackUpdate(undefined, { ...pod({ containers: [] }), status: { phase: 'Running' } }, options({}));
  t.false(JSON.stringify(ownersOf(created)).includes('f:status'));
  const updated = trackUpdate<JsonObject>(
    created,
    { ...created, status: { phase: 'Failed' } },
    options({ manager: 'kubelet', subresource: 'status' }),
  ) as unknown as Owned;
  const entry = updated.metadata.managedFields!.find(({ manager }) => manager === 'kubelet')!;
  t.deepEqual(entry.fieldsV1, { 'f:status': { 'f:phase': {} } });
  t.is(entry.subresource, 'status');
});

test('updaters beyond ten become one', (t) => {
  let live: JsonObject = trackUpdate(undefined, pod({ containers: [] }, { l0: 'x' }), options({ manager: 'm0' }));
  for (let index = 1; index < 30; index++) {
    const labels = { ...((live['metadata'] as JsonObject)['labels'] as JsonObject), [`l${index}`]: 'x' };
    live = trackUpdate(
      live,
      { ...live, metadata: { ...(live['metadata'] as JsonObject), labels } },
      options({ manager: `m${index}`, now: `2026-01-01T00:00:${String(index).padStart(2, '0')}Z` }),
    );
  }
  const owners = ownersOf(live).map(([, manager]) => manager);
  t.is(owners.length, 10);
  t.true(owners.includes('ancient-changes') && owners.includes('m29'));
});

test('clearing managedFields ends the tracking', (t) => {
  const live = trackUpdate(undefined, pod({ containers: [] }, { a: 'b' }), options({}));
  t.is(ownersOf(live).length, 1);
  const cleared = trackUpdate(live, { ...live, metadata: { name: 'p', managedFields: [{}] } }, options({}));
  t.deepEqual(ownersOf(cleared), []);
});

test('custom resources: maps have fields, lists are units', (t) => {
  const custom = options({ schemaType: undefined, apiVersion: 'example.com/v1' });
  const thing = (spec: JsonObject): JsonObject => ({
    apiVersion: 'example.com/v1',
    kind: 'Thing',
    metadata: { name: 't' },
    spec,
  });
  const live = applyPatch<JsonObject>(undefined, thing({ a: { b: 1, c: 2 }, list: [1, 2] }), custom).object;
  const next = applyPatch(live, thing({ a: { d: 3 } }), { ...custom, manager: 'b' }).object;
  t.deepEqual(next['spec'], { a: { b: 1, c: 2, d: 3 }, list: [1, 2] });
  t.true(
    isPintleError(
      t.throws(() => applyPatch(next, thing({ list: [3] }), { ...custom, manager: 'b' })),
      'CONFLICT',
    ),
  );
});

test('hostile managedFields and configs', (t) => {
  const live = (managedFields: unknown): JsonObject => ({
    ...pod({ containers: [] }),
    metadata: { name: 'p', managedFields },
  });
  for (const fieldsV1 of [[], { 'x:y': {} }, { 'k:{': {} }, { 'k:1': {} }, { 'v:{': {} }])
    t.true(
      isPintleError(
        t.throws(() =>
          applyPatch(live([{ manager: 'a', operation: 'Apply', fieldsV1 }]), pod({ containers: [] }), options({})),
        ),
        'BAD_REQUEST',
      ),
    );
  t.true(
    isPintleError(
      t.throws(() => applyPatch(undefined, live([]), options({}))),
      'BAD_REQUEST',
    ),
  );
  t.true(
    isPintleError(
      t.throws(() => applyPatch(undefined, pod({ containers: [{ image: 'x' }] }), options({}))),
      'BAD_REQUEST',
    ),
  );
  const proto = JSON.parse(
    '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{"__proto__":"x"}},"spec":{"containers":[]}}',
  ) as JsonObject;
  const applied = applyPatch<JsonObject>(undefined, proto, options({})).object;
  t.true(JSON.stringify(applied).includes('"__proto__":"x"'));
  t.is(({} as JsonObject)['polluted'], undefined);
});

const fields: fc.Arbitrary<JsonObject> = fc.letrec((tie) => ({
  tree: fc.dictionary(
    fc.constantFrom('f:a', 'f:b', 'k:{"name":"x"}', 'v:1', '.'),
    fc.oneof({ depthSize: 'small' }, fc.constant({}), tie('tree')),
    { maxKeys: 4 },
  ),
})).tree as fc.Arbitrary<JsonObject>;
const set: fc.Arbitrary<FieldSet> = fields.map(decodeFieldSet);

test('sets of fields obey the laws of sets', (t) => {
  fc.assert(
    fc.property(set, set, (left, right) => {
      assert.deepEqual(encodeFieldSet(decodeFieldSet(encodeFieldSet(left))), encodeFieldSet(left));
      assert.ok(isEmptySet(difference(left, union(left, right))));
      assert.deepEqual(encodeFieldSet(union(difference(left, right), intersection(left, right))), encodeFieldSet(left));
      assert.ok(isEmptySet(intersection(difference(left, right), right)));
      assert.deepEqual(encodeFieldSet(union(left, right)), encodeFieldSet(union(right, left)));
    }),
    { numRuns: 300 },
  );
  t.pass();
});

test('paths print as Kubernetes prints them', (t) => {
  const paths = leaves(
    decodeFieldSet({
      'f:spec': { 'f:ports': { 'k:{"protocol":"TCP","containerPort":80}': { 'f:name': {} } } },
      'f:finalizers': { 'v:"x"': {} },
    }),
  );
  t.deepEqual(paths.map(printPath), ['.finalizers[="x"]', '.spec.ports[containerPort=80,protocol="TCP"].name']);
});
