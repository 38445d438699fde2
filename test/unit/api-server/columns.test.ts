/** Cells of `kubectl get`, by tables. */
import test from 'ava';
import { builtInResources, resources } from '../../../kernel/machinery/resources.ts';
import { humanDuration, labelsText, selectorText } from '../../../plugins/components/api-server/columns/column.ts';
import { columnsFor } from '../../../plugins/components/api-server/columns/index.ts';
import { tableOf } from '../../../plugins/components/api-server/table.ts';

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;
const now = Date.parse('2026-06-01T00:00:00Z');
const ago = (ms: number): string => new Date(now - ms).toISOString();

test('ages are printed as Kubernetes prints them', (t) => {
  const cases: readonly (readonly [number, string])[] = [
    [-5 * second, '<invalid>'],
    [-1 * second, '0s'],
    [0, '0s'],
    [999, '0s'],
    [119 * second, '119s'],
    [120 * second, '2m'],
    [125 * second, '2m5s'],
    [9 * minute + 59 * second, '9m59s'],
    [10 * minute + 1 * second, '10m'],
    [179 * minute, '179m'],
    [180 * minute, '3h'],
    [181 * minute, '3h1m'],
    [7 * hour + 59 * minute, '7h59m'],
    [8 * hour + 59 * minute, '8h'],
    [47 * hour, '47h'],
    [48 * hour, '2d'],
    [49 * hour, '2d1h'],
    [7 * day + 23 * hour, '7d23h'],
    [8 * day + 5 * hour, '8d'],
    [729 * day, '729d'],
    [730 * day, '2y'],
    [731 * day, '2y1d'],
    [8 * 365 * day + day, '8y'],
  ];
  for (const [span, text] of cases) t.is(humanDuration(span), text, String(span));
});

test('selectors and labels', (t) => {
  t.is(selectorText(undefined), '<none>');
  t.is(selectorText({}), '<none>');
  t.is(
    selectorText({
      matchLabels: { b: '2', a: '1' },
      matchExpressions: [
        { key: 'x', operator: 'In', values: ['q', 'p'] },
        { key: 'y', operator: 'NotIn', values: ['r'] },
        { key: 'z', operator: 'Exists' },
        { key: 'w', operator: 'DoesNotExist' },
      ],
    }),
    'a=1,b=2,x in (p,q),y notin (r),z,!w',
  );
  t.is(labelsText({ b: '2', a: '1' }), 'a=1,b=2');
  t.is(labelsText({}), '<none>');
});

const spec = { containers: [{ name: 'a' }, { name: 'b' }] };
const running = { running: {} };
const pods: readonly (readonly [name: string, pod: object, cells: readonly string[]])[] = [
  ['pending', { spec, status: { phase: 'Pending' } }, ['0/2', 'Pending', '0']],
  ['no status', { spec }, ['0/2', 'Unknown', '0']],
  [
    'gated',
    {
      spec,
      status: { phase: 'Pending', conditions: [{ type: 'PodScheduled', status: 'False', reason: 'SchedulingGated' }] },
    },
    ['0/2', 'SchedulingGated', '0'],
  ],
  [
    'running',
    {
      spec,
      status: {
        phase: 'Running',
        containerStatuses: [
          { name: 'a', ready: true, restartCount: 0, state: running },
          { name: 'b', ready: true, restartCount: 0, state: running },
        ],
      },
    },
    ['2/2', 'Running', '0'],
  ],
  [
    'one crashed, with its last restart',
    {
      spec,
      status: {
        phase: 'Running',
        containerStatuses: [
          { name: 'a', ready: true, restartCount: 0, state: running },
          {
            name: 'b',
            ready: false,
            restartCount: 4,
            state: { waiting: { reason: 'CrashLoopBackOff' } },
            lastState: { terminated: { exitCode: 1, finishedAt: ago(5 * minute) } },
          },
        ],
      },
    },
    ['1/2', 'CrashLoopBackOff', '4 (5m ago)'],
  ],
  [
    'image',
    {
      spec,
      status: {
        phase: 'Pending',
        containerStatuses: [
          { name: 'a', ready: false, restartCount: 0, state: { waiting: { reason: 'ErrImagePull' } } },
        ],
      },
    },
    ['0/2', 'ErrImagePull', '0'],
  ],
  [
    'completed',
    {
      spec,
      status: {
        phase: 'Succeeded',
        containerStatuses: [
          { name: 'a', ready: false, restartCount: 0, state: { terminated: { exitCode: 0, reason: 'Completed' } } },
        ],
      },
    },
    ['0/2', 'Completed', '0'],
  ],
  [
    'exit code without a reason',
    {
      spec,
      status: {
        phase: 'Failed',
        containerStatuses: [{ name: 'a', ready: false, restartCount: 0, state: { terminated: { exitCode: 3 } } }],
      },
    },
    ['0/2', 'ExitCode:3', '0'],
  ],
  [
    'signal',
    {
      spec,
      status: {
        phase: 'Failed',
        containerStatuses: [
          { name: 'a', ready: false, restartCount: 0, state: { terminated: { exitCode: 137, signal: 9 } } },
        ],
      },
    },
    ['0/2', 'Signal:9', '0'],
  ],
  [
    'one is done, one runs',
    {
      spec,
      status: {
        phase: 'Running',
        conditions: [{ type: 'Ready', status: 'False' }],
        containerStatuses: [
          { name: 'a', ready: false, restartCount: 0, state: { terminated: { exitCode: 0, reason: 'Completed' } } },
          { name: 'b', ready: true, restartCount: 0, state: running },
        ],
      },
    },
    ['1/2', 'NotReady', '0'],
  ],
  [
    'init waits',
    {
      spec: { ...spec, initContainers: [{ name: 'i' }, { name: 'j' }] },
      status: {
        phase: 'Pending',
        initContainerStatuses: [
          { name: 'i', restartCount: 0, ready: true, state: { terminated: { exitCode: 0 } } },
          { name: 'j', restartCount: 0, ready: false, state: running },
        ],
      },
    },
    ['0/2', 'Init:1/2', '0'],
  ],
  [
    'init failed',
    {
      spec: { ...spec, initContainers: [{ name: 'i' }] },
      status: {
        phase: 'Pending',
        initContainerStatuses: [
          { name: 'i', restartCount: 2, ready: false, state: { terminated: { exitCode: 1, reason: 'Error' } } },
        ],
      },
    },
    ['0/2', 'Init:Error', '2'],
  ],
  [
    'a sidecar counts',
    {
      spec: { ...spec, initContainers: [{ name: 's', restartPolicy: 'Always' }] },
      status: {
        phase: 'Running',
        conditions: [{ type: 'Initialized', status: 'True' }],
        initContainerStatuses: [{ name: 's', ready: true, started: true, restartCount: 1, state: running }],
        containerStatuses: [{ name: 'a', ready: true, restartCount: 0, state: running }],
      },
    },
    ['2/3', 'Running', '1'],
  ],
  [
    'terminating',
    { metadata: { deletionTimestamp: ago(0) }, spec, status: { phase: 'Running' } },
    ['0/2', 'Terminating', '0'],
  ],
  [
    'terminating on a lost node',
    { metadata: { deletionTimestamp: ago(0) }, spec, status: { phase: 'Running', reason: 'NodeLost' } },
    ['0/2', 'Unknown', '0'],
  ],
  ['evicted', { spec, status: { phase: 'Failed', reason: 'Evicted' } }, ['0/2', 'Evicted', '0']],
];

for (const [name, pod, cells] of pods) {
  test(`pod: ${name}`, (t) => {
    const object = {
      apiVersion: 'v1',
      kind: 'Pod',
      ...pod,
      metadata: { name: 'p', creationTimestamp: ago(90 * second), ...(pod as { metadata?: object }).metadata },
    };
    t.deepEqual(
      columnsFor(resources.pods)
        .cells(object as never, now)
        .slice(0, 5),
      ['p', ...cells, '90s'],
    );
  });
}

test('services, nodes, jobs, events, endpoints', (t) => {
  const cells = (type: Parameters<typeof columnsFor>[0], object: object): readonly unknown[] =>
    columnsFor(type).cells(
      {
        apiVersion: '',
        kind: '',
        ...object,
        metadata: { name: 'x', creationTimestamp: ago(minute), ...(object as { metadata?: object }).metadata },
      } as never,
      now,
    );
  const port = { port: 80, protocol: 'TCP', nodePort: 30080 };
  t.deepEqual(
    cells(resources.services, {
      spec: {
        type: 'NodePort',
        clusterIPs: ['10.0.0.1'],
        ports: [port, { port: 53, protocol: 'UDP' }],
        selector: { a: 'b' },
      },
    }),
    ['x', 'NodePort', '10.0.0.1', '<none>', '80:30080/TCP,53/UDP', '60s', 'a=b'],
  );
  t.is(cells(resources.services, { spec: { type: 'LoadBalancer' } })[3], '<pending>');
  t.is(cells(resources.services, { spec: { type: 'ExternalName', externalName: 'e.example' } })[3], 'e.example');
  t.is(cells(resources.services, { spec: { clusterIP: 'None' } })[2], 'None');
  const ready = { type: 'Ready', status: 'True' };
  const node = {
    metadata: { labels: { 'node-role.kubernetes.io/worker': '', 'kubernetes.io/role': 'edge' } },
    spec: { unschedulable: true },
    status: { conditions: [ready], addresses: [{ type: 'InternalIP', address: '192.0.2.1' }] },
  };
  t.deepEqual(cells(resources.nodes, node).slice(0, 7), [
    'x',
    'Ready,SchedulingDisabled',
    'edge,worker',
    '60s',
    '',
    '192.0.2.1',
    '<none>',
  ]);
  t.is(cells(resources.nodes, { status: { conditions: [{ type: 'Ready', status: 'Unknown' }] } })[1], 'NotReady');
  t.is(cells(resources.nodes, {})[1], 'Unknown');
  const job = {
    spec: { completions: 3 },
    status: {
      succeeded: 2,
      startTime: ago(hour),
      completionTime: ago(hour - 30 * second),
      conditions: [{ type: 'Complete', status: 'True' }],
    },
  };
  t.deepEqual(cells(resources.jobs, job).slice(0, 4), ['x', 'Complete', '2/3', '30s']);
  const event = {
    involvedObject: { kind: 'Pod', name: 'p' },
    reason: 'R',
    message: ' m ',
    type: 'Normal',
    firstTimestamp: ago(hour),
    lastTimestamp: ago(minute),
    count: 5,
    source: { component: 'c', host: 'h' },
  };
  t.deepEqual(cells(resources.events, event), ['60s', 'Normal', 'R', 'pod/p', '', 'c, h', 'm', '60m', 5, 'x']);
  const addresses = ['1', '2', '3', '4', '5'].map((last) => ({ ip: `10.0.0.${last}` }));
  t.is(
    cells(resources.endpoints, { subsets: [{ addresses, ports: [{ port: 8080 }] }] })[1],
    '10.0.0.1:8080,10.0.0.2:8080,10.0.0.3:8080 + 2 more...',
  );
});

test('every built-in kind: as many cells as columns, and an odd object never breaks the listing', (t) => {
  const odd = [
    {},
    { spec: null },
    { spec: {}, status: {} },
    { spec: 1, status: 'x' },
    { status: { conditions: null } },
    { data: 1 },
  ];
  for (const type of builtInResources) {
    const objects = odd.map((more) => ({ apiVersion: 'v1', kind: type.kind, metadata: { name: 'x' }, ...more }));
    const table = tableOf(
      type,
      objects as never,
      { resourceVersion: '1' },
      { version: 'v1', include: 'None' },
      { now },
    ) as { columnDefinitions: unknown[]; rows: { cells: unknown[] }[] };
    for (const row of table.rows) t.is(row.cells.length, table.columnDefinitions.length, type.resource);
    t.true(JSON.stringify(table).includes('"x"'));
  }
});
