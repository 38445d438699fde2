import { readFileSync } from 'node:fs';
import assert from 'node:assert/strict';
import test from 'ava';
import fc from 'fast-check';
import { isPintleError, type ErrorCode } from '../../../kernel/contract/index.ts';
import { equalJson, type JsonObject } from '../../../kernel/machinery/json-value.ts';
import { mergePatchBetween } from '../../../kernel/machinery/merge-patch.ts';
import { jsonPatch, mergePatch, strategicMergePatch } from '../../../kernel/machinery/patch.ts';

const parse = (text: string): JsonObject => JSON.parse(text) as JsonObject;
function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    Object.freeze(value);
    for (const child of Object.values(value)) deepFreeze(child);
  }
  return value;
}
const isClean = (): boolean => (({}) as JsonObject)['polluted'] === undefined;

// RFC 7386, appendix A, objects only: the API patches nothing else.
const mergeCases: [string, string, string][] = [
  ['{"a":"b"}', '{"a":"c"}', '{"a":"c"}'],
  ['{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'],
  ['{"a":"b"}', '{"a":null}', '{}'],
  ['{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'],
  ['{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'],
  ['{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'],
  ['{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'],
  ['{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'],
  ['{"e":null}', '{"a":1}', '{"e":null,"a":1}'],
  ['{}', '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'],
  ['{"a":1}', '{"__proto__":{"polluted":1}}', '{"a":1,"__proto__":{"polluted":1}}'],
  ['{"__proto__":{"x":1}}', '{"__proto__":null}', '{}'],
  ['{"a":1}', '{"constructor":{"prototype":{"polluted":1}}}', '{"a":1,"constructor":{"prototype":{"polluted":1}}}'],
];
for (const [document, patch, expected] of mergeCases) {
  test(`merge patch ${document} + ${patch}`, (t) => {
    const before = deepFreeze(parse(document));
    t.is(JSON.stringify(mergePatch(before, deepFreeze(parse(patch)))), expected);
    t.is(JSON.stringify(before), document);
    t.true(isClean());
  });
}

const json: fc.Arbitrary<JsonObject> = fc.letrec((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.string(),
    fc.integer(),
    fc.boolean(),
    fc.array(fc.integer(), { maxLength: 3 }),
    tie('object'),
  ),
  object: fc.dictionary(fc.constantFrom('a', 'b', 'c', '__proto__', 'constructor'), tie('value'), { maxKeys: 4 }),
})).object as fc.Arbitrary<JsonObject>;

test('the merge patch between two objects makes one of the other', (t) => {
  fc.assert(
    fc.property(json, json, (before, after) => {
      assert.ok(equalJson(mergePatch(before, mergePatchBetween(before, after)), after));
      assert.ok(isClean());
    }),
    { numRuns: 300 },
  );
  t.pass();
});

function refuses(
  t: { true(value: boolean, message?: string): void; throws(run: () => void): unknown },
  code: ErrorCode,
  run: () => unknown,
): void {
  const error = t.throws(() => void run());
  t.true(isPintleError(error, code), `expected ${code}, got ${String(error)}`);
}
const nested = (depth: number): JsonObject => parse(`${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`);

test('merge patches that are none, too deep or too large', (t) => {
  for (const patch of [[], null, 1, 'x']) refuses(t, 'BAD_REQUEST', () => mergePatch({}, patch));
  refuses(t, 'BAD_REQUEST', () => mergePatch({}, nested(100_000)));
  refuses(t, 'TOO_LARGE', () => mergePatch({}, { a: 'x'.repeat(4 * 1024 * 1024) }));
});

const jsonCases: [document: unknown, operations: unknown, expected: unknown][] = [
  [{ a: [1, 2] }, [{ op: 'add', path: '/a/-', value: 3 }], { a: [1, 2, 3] }],
  [{ a: [1, 2] }, [{ op: 'add', path: '/a/0', value: 0 }], { a: [0, 1, 2] }],
  [{ a: [1, 2] }, [{ op: 'remove', path: '/a/0' }], { a: [2] }],
  [{ a: { b: 1 } }, [{ op: 'move', from: '/a/b', path: '/c' }], { a: {}, c: 1 }],
  [{ a: [1, 2, 3] }, [{ op: 'move', from: '/a/0', path: '/a/2' }], { a: [2, 3, 1] }],
  [
    { a: { b: 1 } },
    [
      { op: 'copy', from: '/a', path: '/c' },
      { op: 'replace', path: '/c/b', value: 2 },
    ],
    { a: { b: 1 }, c: { b: 2 } },
  ],
  [{ 'x/y~z': 1 }, [{ op: 'replace', path: '/x~1y~0z', value: 2 }], { 'x/y~z': 2 }],
  [{ a: 1 }, [{ op: 'test', path: '/a', value: 1 }], { a: 1 }],
  [{ a: { x: 1, y: [2] } }, [{ op: 'test', path: '/a', value: { y: [2], x: 1 } }], { a: { x: 1, y: [2] } }],
  [{}, [{ op: 'test', path: '/gone', value: null }], {}],
  [{ a: null }, [{ op: 'remove', path: '/a' }], {}],
  [{ a: 1 }, [{ op: 'replace', path: '', value: { b: 2 } }], { b: 2 }],
];
for (const [index, [document, operations, expected]] of jsonCases.entries()) {
  test(`JSON patch ${index}: ${JSON.stringify(operations)}`, (t) => {
    const before = JSON.stringify(document);
    t.deepEqual(jsonPatch(deepFreeze(document), deepFreeze(operations)), expected);
    t.is(JSON.stringify(document), before);
  });
}

const refusedPatches: [name: string, code: ErrorCode, operations: unknown][] = [
  ['not a list', 'BAD_REQUEST', { op: 'add' }],
  ['not an operation', 'BAD_REQUEST', [1]],
  ['unknown op', 'BAD_REQUEST', [{ op: 'toString', path: '/a' }]],
  ['no path', 'BAD_REQUEST', [{ op: 'remove' }]],
  ['relative path', 'BAD_REQUEST', [{ op: 'remove', path: 'a' }]],
  ['no value', 'BAD_REQUEST', [{ op: 'add', path: '/b' }]],
  ['no from', 'BAD_REQUEST', [{ op: 'move', path: '/b' }]],
  ['missing parent', 'INVALID', [{ op: 'add', path: '/x/y', value: 1 }]],
  ['missing target', 'INVALID', [{ op: 'remove', path: '/x' }]],
  ['inherited target', 'INVALID', [{ op: 'replace', path: '/constructor', value: 1 }]],
  ['inherited parent', 'INVALID', [{ op: 'add', path: '/constructor/polluted', value: 1 }]],
  ['prototype', 'INVALID', [{ op: 'add', path: '/__proto__/polluted', value: 1 }]],
  ['prototype as source', 'INVALID', [{ op: 'copy', from: '/__proto__', path: '/b' }]],
  ['prototype as target', 'INVALID', [{ op: 'replace', path: '/__proto__', value: {} }]],
  ['prototype of a list', 'INVALID', [{ op: 'add', path: '/list/__proto__', value: {} }]],
  ['index beyond the end', 'INVALID', [{ op: 'add', path: '/list/9', value: 1 }]],
  ['index with a leading zero', 'INVALID', [{ op: 'replace', path: '/list/00', value: 1 }]],
  ['list length', 'INVALID', [{ op: 'replace', path: '/list/length', value: 0 }]],
  ['failed test', 'INVALID', [{ op: 'test', path: '/a', value: 2 }]],
  ['into itself', 'INVALID', [{ op: 'move', from: '/o', path: '/o/p' }]],
  ['nothing left', 'INVALID', [{ op: 'remove', path: '' }]],
  ['too many', 'TOO_LARGE', Array.from({ length: 10_001 }, () => ({ op: 'test', path: '/a', value: 1 }))],
];
for (const [name, code, operations] of refusedPatches) {
  test(`JSON patch refused: ${name}`, (t) => {
    refuses(t, code, () => jsonPatch({ a: 1, list: [0], o: { p: 1 } }, operations));
    t.true(isClean());
  });
}

const prototypeCases: [document: string, operations: object[], expected: string][] = [
  ['{}', [{ op: 'add', path: '/__proto__', value: { x: 1 } }], '{"__proto__":{"x":1}}'],
  ['{"__proto__":{"x":1}}', [{ op: 'add', path: '/__proto__/y', value: 2 }], '{"__proto__":{"x":1,"y":2}}'],
  ['{"__proto__":{"x":1}}', [{ op: 'replace', path: '/__proto__', value: 3 }], '{"__proto__":3}'],
  ['{"a":1,"__proto__":{"x":1}}', [{ op: 'remove', path: '/__proto__' }], '{"a":1}'],
  ['{"__proto__":{"x":1}}', [{ op: 'move', from: '/__proto__/x', path: '/y' }], '{"__proto__":{},"y":1}'],
  ['{"a":{"b":1}}', [{ op: 'copy', from: '/a', path: '/__proto__' }], '{"a":{"b":1},"__proto__":{"b":1}}'],
  [
    '{"__proto__":[1,2]}',
    [
      { op: 'add', path: '/__proto__/0', value: 0 },
      { op: 'add', path: '/__proto__/-', value: 3 },
      { op: 'replace', path: '/__proto__/1', value: 'one' },
      { op: 'remove', path: '/__proto__/2' },
    ],
    '{"__proto__":[0,"one",3]}',
  ],
];
for (const [document, operations, expected] of prototypeCases) {
  test(`JSON patch takes __proto__ for data: ${JSON.stringify(operations)}`, (t) => {
    t.is(JSON.stringify(jsonPatch(JSON.parse(document), operations)), expected);
    t.true(isClean());
  });
}

test('JSON patch copies that would double the document forever are stopped', (t) => {
  const doubling = Array.from({ length: 60 }, (_, index) => ({ op: 'copy', from: '', path: `/x${index}` }));
  refuses(t, 'TOO_LARGE', () => jsonPatch({ data: 'x'.repeat(1000) }, doubling));
});

test('10,000 operations are served', (t) => {
  const operations = Array.from({ length: 10_000 }, (_, value) => ({ op: 'add', path: '/list/-', value }));
  t.is(jsonPatch<{ list: number[] }>({ list: [] }, operations).list.length, 10_000);
});

interface StrategicCase {
  readonly original: JsonObject;
  readonly patch: JsonObject;
  readonly expected: JsonObject;
}
const oracle = JSON.parse(
  readFileSync(new URL('../../../../test/fixtures/oracle/strategic-merge.json', import.meta.url), 'utf8'),
) as StrategicCase[];
test('strategic merge patch does what apimachinery does', (t) => {
  t.true(oracle.length > 50);
  for (const { original, patch, expected } of oracle)
    t.deepEqual(
      strategicMergePatch(deepFreeze(original), deepFreeze(patch), 'core/v1.Pod'),
      expected,
      JSON.stringify({ original, patch }),
    );
});

const pod = (spec: JsonObject): JsonObject => ({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p' }, spec });
const strategicCases: [name: string, before: JsonObject, patch: JsonObject, after: JsonObject][] = [
  [
    'merges by name',
    { containers: [{ name: 'a', image: 'x' }] },
    { containers: [{ name: 'a', image: 'y' }] },
    { containers: [{ name: 'a', image: 'y' }] },
  ],
  [
    'adds by name, before the rest',
    { containers: [{ name: 'a' }] },
    { containers: [{ name: 'b' }] },
    { containers: [{ name: 'b' }, { name: 'a' }] },
  ],
  [
    'deletes an element',
    { containers: [{ name: 'a' }, { name: 'b' }] },
    { containers: [{ name: 'a', $patch: 'delete' }] },
    { containers: [{ name: 'b' }] },
  ],
  [
    'replaces a list',
    { containers: [{ name: 'a', image: 'x' }, { name: 'b' }] },
    { containers: [{ name: 'a' }, { $patch: 'replace' }] },
    { containers: [{ name: 'a' }] },
  ],
  [
    'merges when told to',
    { containers: [{ name: 'a', image: 'x' }] },
    { containers: [{ name: 'a', tty: true, $patch: 'merge' }] },
    { containers: [{ name: 'a', image: 'x', tty: true }] },
  ],
  [
    'replaces an object',
    { securityContext: { runAsUser: 1 } },
    { securityContext: { fsGroup: 2, $patch: 'replace' } },
    { securityContext: { fsGroup: 2 } },
  ],
  [
    'empties an object',
    { securityContext: { runAsUser: 1 } },
    { securityContext: { $patch: 'delete' } },
    { securityContext: {} },
  ],
  ['deletes a field', { nodeName: 'n', hostname: 'h' }, { nodeName: null }, { hostname: 'h' }],
  [
    'retains keys',
    { volumes: [{ name: 'v', emptyDir: {} }] },
    { volumes: [{ name: 'v', hostPath: { path: '/x' }, $retainKeys: ['name', 'hostPath'] }] },
    { volumes: [{ name: 'v', hostPath: { path: '/x' } }] },
  ],
  [
    'replaces atomic lists',
    { tolerations: [{ key: 'a' }] },
    { tolerations: [{ key: 'b' }] },
    { tolerations: [{ key: 'b' }] },
  ],
  [
    'orders elements',
    { containers: [{ name: 'a' }, { name: 'b' }, { name: 'c' }] },
    { '$setElementOrder/containers': [{ name: 'c' }, { name: 'a' }] },
    { containers: [{ name: 'b' }, { name: 'c' }, { name: 'a' }] },
  ],
  [
    'tells ports apart by protocol',
    {
      containers: [
        {
          name: 'a',
          ports: [
            { containerPort: 53, protocol: 'TCP' },
            { containerPort: 53, protocol: 'UDP' },
          ],
        },
      ],
    },
    { containers: [{ name: 'a', ports: [{ containerPort: 53, protocol: 'UDP', name: 'dns' }] }] },
    {
      containers: [
        {
          name: 'a',
          ports: [
            { containerPort: 53, protocol: 'TCP' },
            { containerPort: 53, protocol: 'UDP', name: 'dns' },
          ],
        },
      ],
    },
  ],
  [
    'takes the default protocol for an absent one',
    { containers: [{ name: 'a', ports: [{ containerPort: 53, protocol: 'UDP' }, { containerPort: 53 }] }] },
    { containers: [{ name: 'a', ports: [{ containerPort: 53, protocol: 'TCP', name: 'dns' }] }] },
    {
      containers: [
        {
          name: 'a',
          ports: [
            { containerPort: 53, protocol: 'UDP' },
            { containerPort: 53, protocol: 'TCP', name: 'dns' },
          ],
        },
      ],
    },
  ],
];
for (const [name, before, patch, after] of strategicCases) {
  test(`strategic merge patch ${name}`, (t) => {
    t.deepEqual(strategicMergePatch(deepFreeze(pod(before)), deepFreeze({ spec: patch }), 'core/v1.Pod'), pod(after));
  });
}

test('strategic merge patch deletes from and orders lists of scalars', (t) => {
  const before = { metadata: { finalizers: ['a', 'b', 'c'] } };
  t.deepEqual(
    strategicMergePatch(
      before,
      { metadata: { '$deleteFromPrimitiveList/finalizers': ['b'], finalizers: ['d'] } },
      'core/v1.Pod',
    ),
    {
      metadata: { finalizers: ['d', 'a', 'c'] },
    },
  );
  t.deepEqual(strategicMergePatch(before, { metadata: { '$setElementOrder/finalizers': ['c', 'a'] } }, 'core/v1.Pod'), {
    metadata: { finalizers: ['b', 'c', 'a'] },
  });
});

const refusedStrategic: [name: string, code: ErrorCode, patch: unknown, type?: string][] = [
  ['a custom resource', 'UNSUPPORTED_MEDIA_TYPE', {}, 'example.com/v1.Thing'],
  ['no object', 'BAD_REQUEST', []],
  ['an unknown directive', 'BAD_REQUEST', { $patch: 'explode' }],
  ['an element without its merge key', 'INVALID', { spec: { containers: [{ image: 'x' }] } }],
  ['elements of mixed types', 'INVALID', { spec: { containers: ['x'] } }],
  [
    'a wrong order',
    'BAD_REQUEST',
    {
      spec: {
        '$setElementOrder/containers': [{ name: 'b' }, { name: 'a' }],
        containers: [{ name: 'a' }, { name: 'b' }],
      },
    },
  ],
  ['an order that is no list', 'BAD_REQUEST', { spec: { '$setElementOrder/containers': {} } }],
  ['a deletion that is no list', 'BAD_REQUEST', { metadata: { '$deleteFromPrimitiveList/finalizers': 'a' } }],
  ['keys that are not retained', 'BAD_REQUEST', { spec: { $retainKeys: [], nodeName: 'a' } }],
  ['depth', 'BAD_REQUEST', nested(100_000)],
];
for (const [name, code, patch, type = 'core/v1.Pod'] of refusedStrategic) {
  test(`strategic merge patch refuses ${name}`, (t) => {
    refuses(t, code, () => strategicMergePatch(pod({ containers: [{ name: 'a' }, { name: 'b' }] }), patch, type));
  });
}

test('strategic merge patch takes __proto__ for data', (t) => {
  const patch = parse(
    '{"metadata":{"labels":{"__proto__":"x"},"annotations":{"__proto__":{"polluted":1}}},"__proto__":{"polluted":1}}',
  );
  const result = strategicMergePatch({ metadata: { labels: { a: 'b' } } }, patch, 'core/v1.Pod');
  t.true(isClean());
  t.true(Object.hasOwn(result.metadata.labels, '__proto__'));
});
