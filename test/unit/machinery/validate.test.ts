import test from 'ava';
import { isPintleError } from '../../../kernel/contract/index.ts';
import { formatDuration, parseDuration } from '../../../kernel/machinery/schema/duration.ts';
import { checkShape } from '../../../kernel/machinery/schema/validate.ts';

const pod = (spec: unknown, metadata: unknown = { name: 'p' }): unknown => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata,
  spec,
});
const withContainer = (container: unknown): unknown => pod({ containers: [container] });
type Tree = { [key: string]: Tree } & Tree[];

test('a good object comes back equal, as a copy', (t) => {
  const object = withContainer({
    name: 'a',
    image: 'i',
    ports: [{ containerPort: 80 }],
    env: [{ name: 'A', value: '1' }],
  });
  const report = checkShape('core/v1.Pod', object);
  t.deepEqual(report.object, object);
  t.not(report.object, object);
  t.deepEqual(report.causes, []);
  t.deepEqual(report.unknownFields, []);
});

test('unknown fields are named and dropped', (t) => {
  const report = checkShape('core/v1.Pod', {
    ...(pod({
      foo: 1,
      containers: [
        { name: 'a', imagee: 'x' },
        { name: 'b', __proto__x: 1 },
      ],
    }) as object),
    statuss: {},
  });
  t.deepEqual(report.unknownFields.toSorted(), [
    'unknown field "spec.containers[0].imagee"',
    'unknown field "spec.containers[1].__proto__x"',
    'unknown field "spec.foo"',
    'unknown field "statuss"',
  ]);
  t.deepEqual(report.object['spec'], { containers: [{ name: 'a' }, { name: 'b' }] });
});

test('names are case-sensitive, prototypes are no fields', (t) => {
  const object = JSON.parse('{"Metadata":{},"__proto__":{"x":1},"constructor":1,"spec":{"containers":[]}}') as unknown;
  t.deepEqual(checkShape('core/v1.Pod', object).unknownFields, [
    'unknown field "Metadata"',
    'unknown field "__proto__"',
    'unknown field "constructor"',
  ]);
});

test('missing and unsupported values are causes', (t) => {
  const report = checkShape(
    'core/v1.Pod',
    pod({ restartPolicy: 'Sometimes', containers: [{ image: 'x', ports: [{ protocol: 'ICMP' }] }] }),
  );
  t.deepEqual(
    report.causes.toSorted((left, right) => (left.field < right.field ? -1 : 1)),
    [
      { reason: 'FieldValueRequired', message: 'Required value', field: 'spec.containers[0].name' },
      { reason: 'FieldValueRequired', message: 'Required value', field: 'spec.containers[0].ports[0].containerPort' },
      {
        reason: 'FieldValueNotSupported',
        message: 'Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"',
        field: 'spec.containers[0].ports[0].protocol',
      },
      {
        reason: 'FieldValueNotSupported',
        message: 'Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure"',
        field: 'spec.restartPolicy',
      },
    ],
  );
});

test('lists of allowed values are checked by element', (t) => {
  const claim = { metadata: { name: 'c' }, spec: { accessModes: ['ReadWriteOnce', 'Mine'] } };
  t.deepEqual(
    checkShape('core/v1.PersistentVolumeClaim', claim).causes.map((cause) => cause.field),
    ['spec.accessModes[1]'],
  );
});

test('what Go clients send for nothing is accepted', (t) => {
  const slice = { metadata: { name: 'e', creationTimestamp: null }, addressType: 'IPv4', endpoints: null, ports: null };
  const report = checkShape('discovery/v1.EndpointSlice', slice);
  t.deepEqual(report.causes, []);
  t.deepEqual(report.object, { metadata: { name: 'e' }, addressType: 'IPv4', endpoints: [], ports: [] });
});

test('a role binding may leave the API group to defaulting', (t) => {
  t.deepEqual(checkShape('rbac/v1.RoleBinding', { metadata: {}, roleRef: { kind: 'Role', name: 'r' } }).causes, []);
  t.is(checkShape('rbac/v1.RoleBinding', { metadata: {} }).causes[0]?.field, 'roleRef');
});

test('status is not asked for its required fields', (t) => {
  t.deepEqual(
    checkShape('core/v1.Node', { metadata: { name: 'n' }, status: { nodeInfo: {}, conditions: [{ type: 'Ready' }] } })
      .causes,
    [],
  );
});

const canonical: [name: string, given: unknown, path: string, expected: unknown][] = [
  [
    'quantities',
    withContainer({ name: 'a', resources: { limits: { cpu: '1000m', memory: 1024 } } }),
    'spec.containers.0.resources.limits',
    { cpu: '1', memory: '1024' },
  ],
  [
    'times',
    pod({ containers: [] }, { name: 'p', creationTimestamp: '2026-01-31T13:30:00.5+01:30' }),
    'metadata.creationTimestamp',
    '2026-01-31T12:00:00Z',
  ],
  [
    'empty optionals',
    pod({ containers: [], hostNetwork: false, nodeName: '', tolerations: [], nodeSelector: {} }),
    'spec',
    { containers: [] },
  ],
  [
    'explicit optionals',
    pod({ containers: [], automountServiceAccountToken: false, terminationGracePeriodSeconds: 0 }),
    'spec',
    { containers: [], automountServiceAccountToken: false, terminationGracePeriodSeconds: 0 },
  ],
  [
    'empty objects',
    pod({ containers: [], securityContext: {}, volumes: [{ name: 'v', emptyDir: {} }] }),
    'spec',
    { containers: [], securityContext: {}, volumes: [{ name: 'v', emptyDir: {} }] },
  ],
  [
    'nulls in lists and maps',
    pod({ containers: [{ name: 'a', args: ['x', null] }] }, { labels: { a: null } }),
    'spec.containers.0.args',
    ['x', ''],
  ],
];
for (const [name, given, path, expected] of canonical) {
  test(`canonical form: ${name}`, (t) => {
    const { object } = checkShape('core/v1.Pod', given);
    t.deepEqual(path.split('.').reduce((at, key) => at[key]!, object as Tree) as unknown, expected);
    t.deepEqual(checkShape('core/v1.Pod', object).object, object);
  });
}

test('micro times keep six digits', (t) => {
  const lease = { metadata: {}, spec: { renewTime: '2026-01-01T00:00:00.1234567Z' } };
  t.deepEqual(checkShape('coordination/v1.Lease', lease).object['spec'], { renewTime: '2026-01-01T00:00:00.123456Z' });
});

let deep: unknown = {};
for (let level = 0; level < 10_000; level++) deep = { a: deep };

const mismatches: [name: string, object: unknown, field: string][] = [
  ['a number for a string', pod({ containers: [] }, { name: 5 }), 'metadata.name'],
  [
    'a string for a number',
    pod({ containers: [], terminationGracePeriodSeconds: '30' }),
    'spec.terminationGracePeriodSeconds',
  ],
  [
    'a fraction for an integer',
    pod({ containers: [], terminationGracePeriodSeconds: 1.5 }),
    'spec.terminationGracePeriodSeconds',
  ],
  [
    'an integer beyond 2^53',
    pod({ containers: [], terminationGracePeriodSeconds: 2 ** 53 }),
    'spec.terminationGracePeriodSeconds',
  ],
  [
    'an int32 beyond its range',
    withContainer({ name: 'a', ports: [{ containerPort: 2 ** 31 }] }),
    'spec.containers[0].ports[0].containerPort',
  ],
  ['a string for a boolean', pod({ containers: [], hostNetwork: 'true' }), 'spec.hostNetwork'],
  ['an object for a list', pod({ containers: {} }), 'spec.containers'],
  ['a list for an object', pod([]), 'spec'],
  ['a string for an object', withContainer('a'), 'spec.containers[0]'],
  ['a list for a map', pod({ containers: [] }, { labels: [] }), 'metadata.labels'],
  ['a number in a map of strings', pod({ containers: [] }, { labels: { a: 1 } }), 'metadata.labels.a'],
  ['no time', pod({ containers: [] }, { creationTimestamp: 'yesterday' }), 'metadata.creationTimestamp'],
  [
    'February 30th',
    pod({ containers: [] }, { creationTimestamp: '2026-02-30T00:00:00Z' }),
    'metadata.creationTimestamp',
  ],
  [
    'no quantity',
    withContainer({ name: 'a', resources: { limits: { cpu: 'lots' } } }),
    'spec.containers[0].resources.limits.cpu',
  ],
  [
    'a boolean for int or string',
    withContainer({ name: 'a', livenessProbe: { tcpSocket: { port: true } } }),
    'spec.containers[0].livenessProbe.tcpSocket.port',
  ],
];
for (const [name, object, field] of mismatches) {
  test(`cannot be decoded: ${name}`, (t) => {
    const error = t.throws(() => checkShape('core/v1.Pod', object), {
      message: new RegExp(
        `^Pod in version "v1" cannot be handled as a Pod: ${field.replaceAll(/[.[\]]/g, '\\$&')}: expected `,
      ),
    });
    t.true(isPintleError(error, 'BAD_REQUEST'));
    if (isPintleError(error)) t.is(error.details.causes?.[0]?.field, field);
  });
}
test('cannot be decoded: what is no object, base64 or shallow', (t) => {
  for (const object of [null, [], 'x', 1, undefined])
    t.true(
      isPintleError(
        t.throws(() => checkShape('core/v1.Pod', object)),
        'BAD_REQUEST',
      ),
    );
  t.throws(() => checkShape('core/v1.Secret', { data: { a: 'a' } }), {
    message: /data\.a: expected a string of base64/,
  });
  t.true(
    isPintleError(
      t.throws(() => checkShape('core/v1.Pod', deep)),
      'BAD_REQUEST',
    ),
  );
});

test('schemas of custom resources: array, boolean or schema', (t) => {
  const schema = {
    type: 'object',
    items: { type: 'string' },
    additionalProperties: false,
    properties: { a: { default: { x: 1 }, enum: [1, 'a'], oops: 1 } },
  };
  const definition = {
    metadata: { name: 'd' },
    spec: {
      group: 'g',
      scope: 'Namespaced',
      names: { plural: 'a', kind: 'A' },
      versions: [{ name: 'v1', served: true, storage: true, schema: { openAPIV3Schema: schema } }],
    },
  };
  const report = checkShape('apiextensions/v1.CustomResourceDefinition', definition);
  t.deepEqual(report.unknownFields, ['unknown field "spec.versions[0].schema.openAPIV3Schema.properties.a.oops"']);
  t.deepEqual(report.causes, []);
});

test('durations print as Go prints them', (t) => {
  const cases: [string, string][] = [
    ['0', '0s'],
    ['1h', '1h0m0s'],
    ['90s', '1m30s'],
    ['1.5s', '1.5s'],
    ['20ms', '20ms'],
    ['1500us', '1.5ms'],
    ['-1m', '-1m0s'],
    ['1ns', '1ns'],
    ['36h15m', '36h15m0s'],
  ];
  for (const [given, printed] of cases) t.is(formatDuration(parseDuration(given)!), printed);
  for (const text of ['', '1', 'x', '1d', '1h-1m', 's', '.s', '1'.repeat(100)])
    t.is(parseDuration(text), undefined, text);
});
