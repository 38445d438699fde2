import test from 'ava';
import { checkHistory } from '../../../kernel/conformance/store/history-checker.ts';
import type { History, Seen, SeenBatch, SeenEntry, SeenEvent } from '../../../kernel/conformance/store/history.ts';

const entry = (key: string, value: string, modified: number, created = modified): SeenEntry => ({
  key,
  value,
  created,
  modified,
});
const event = (revision: number, key: string, now?: SeenEntry, previous?: SeenEntry): SeenEvent => ({
  key,
  revision,
  entry: now,
  previous,
});

const a2 = entry('a', 'one', 2);
const a3 = entry('a', 'two', 3, 2);
const b3 = entry('b', 'two', 3);
const a5 = entry('a', 'four', 5);
const log: readonly SeenEvent[] = [
  event(2, 'a', a2),
  event(3, 'a', a3, a2),
  event(3, 'b', b3),
  event(4, 'a', undefined, a3),
  event(5, 'a', a5),
];
const commits: readonly Seen[] = [
  { kind: 'commit', call: 0, return: 10, changes: [{ key: 'a', value: 'one', expected: 0 }], outcome: { revision: 2 } },
  {
    kind: 'commit',
    call: 20,
    return: 30,
    changes: [
      { key: 'a', value: 'two', expected: 2 },
      { key: 'b', value: 'two' },
    ],
    outcome: { revision: 3 },
  },
  { kind: 'commit', call: 40, return: 50, changes: [{ key: 'a', value: undefined }], outcome: { revision: 4 } },
  { kind: 'commit', call: 60, return: 70, changes: [{ key: 'a', value: 'four' }], outcome: { revision: 5 } },
];
const batches: readonly SeenBatch[] = [
  { events: log.slice(0, 1), progress: 2 },
  { events: log.slice(1, 4), progress: 4 },
  { events: log.slice(4), progress: 5 },
];
const base: History['base'] = { revision: 1, entries: [] };
const watch = (changed: readonly SeenBatch[], after = 1, prefix = ''): Seen => ({
  kind: 'watch',
  prefix,
  after,
  batches: changed,
});
const without = (revision: number, key: string): SeenBatch[] =>
  batches.map((batch) => ({
    ...batch,
    events: batch.events.filter((one) => one.revision !== revision || one.key !== key),
  }));

const right: readonly (readonly [string, Partial<History>])[] = [
  ['a plain history', {}],
  ['a complete watch', { seen: [...commits, watch(batches)] }],
  ['a watch that was cut off', { seen: [...commits, watch(batches.slice(0, 1))] }],
  ['a watch that goes on after what another told', { seen: [...commits, watch(batches.slice(1), 2)] }],
  ['a watch of a prefix', { seen: [...commits, watch([{ events: [log[2]!], progress: 5 }], 1, 'b')] }],
  [
    'a commit without an answer that happened',
    { seen: [...commits.slice(0, 3), { ...commits[3], outcome: 'unknown' } as Seen] },
  ],
  [
    'a deletion that was acknowledged without its revision',
    { seen: commits.map((one, at) => (at === 2 ? { ...one, outcome: 'done' } : one) as Seen) },
  ],
  [
    'a commit without an answer that did not happen',
    {
      seen: [
        ...commits,
        { kind: 'commit', call: 80, return: 90, changes: [{ key: 'c', value: 'x' }], outcome: 'unknown' },
      ],
    },
  ],
  [
    'a read during a write that saw it',
    { seen: [...commits, { kind: 'get', call: 22, return: 24, key: 'a', entry: a3 }] },
  ],
  [
    'a read during a write that did not',
    { seen: [...commits, { kind: 'get', call: 22, return: 24, key: 'a', entry: a2 }] },
  ],
  [
    'a conflict',
    {
      seen: [
        ...commits,
        {
          kind: 'commit',
          call: 55,
          return: 56,
          changes: [{ key: 'b', value: 'x', expected: 0 }],
          outcome: { conflict: 'b', current: b3 },
        },
      ],
    },
  ],
  [
    'a deletion of what is absent, with the revision of another',
    {
      seen: [
        ...commits,
        { kind: 'commit', call: 51, return: 52, changes: [{ key: 'a', value: undefined }], outcome: { revision: 4 } },
      ],
    },
  ],
  [
    'a log that goes on from a base',
    { base: { revision: 3, entries: [a3, b3] }, log: log.slice(3), seen: commits.slice(2) },
  ],
];

for (const [name, changed] of right)
  test(`${name} is right`, (t) => t.deepEqual(checkHistory({ base, log, seen: commits, ...changed }), []));

const wrong: readonly (readonly [string, RegExp, Partial<History>])[] = [
  ['an acknowledged commit is lost', /durable: revision 5/, { log: log.slice(0, 4) }],
  [
    'an acknowledged commit became another',
    /durable: revision 2/,
    { log: [event(2, 'a', entry('a', 'other', 2)), ...log.slice(1)] },
  ],
  [
    'a write that was acknowledged without its revision is lost',
    /durable: c="x"/,
    {
      seen: [
        ...commits,
        { kind: 'commit', call: 80, return: 90, changes: [{ key: 'c', value: 'x' }], outcome: 'done' },
      ],
    },
  ],
  ['half of a transaction is lost', /durable: revision 3/, { log: log.filter((one) => one.key !== 'b') }],
  ['two commits got one revision', /two transactions/, { seen: [...commits, commits[0]!] }],
  ['something was written that nobody committed', /nobody committed/, { seen: commits.slice(1) }],
  [
    'a refused commit happened',
    /nobody committed/,
    { seen: [{ ...commits[0], outcome: 'refused' } as Seen, ...commits.slice(1)] },
  ],
  ['the log skips a revision', /reliable: follows/, { log: [log[0]!, log[4]!], seen: [], ownAfter: 9 }],
  ['the log goes back', /ordered/, { log: [...log, log[0]!] }],
  ['the log repeats a change', /unique/, { log: [...log, log[4]!] }],
  ['an event has a wrong previous', /prevKV/, { log: [log[0]!, event(3, 'a', a3), ...log.slice(2)] }],
  [
    'an event has a wrong creation',
    /isCreate/,
    { log: [log[0]!, event(3, 'a', entry('a', 'two', 3), a2), ...log.slice(2)] },
  ],
  [
    'a condition did not hold',
    /compare-and-swap: revision 2/,
    {
      seen: [
        {
          kind: 'commit',
          call: 0,
          return: 10,
          changes: [{ key: 'a', value: 'one', expected: 7 }],
          outcome: { revision: 2 },
        },
        ...commits.slice(1),
      ],
    },
  ],
  [
    'a conflict found what was expected',
    /compare-and-swap: a conflict/,
    {
      seen: [
        ...commits,
        {
          kind: 'commit',
          call: 55,
          return: 56,
          changes: [{ key: 'b', value: 'x', expected: 3 }],
          outcome: { conflict: 'b', current: b3 },
        },
      ],
    },
  ],
  [
    'a conflict shows an old state',
    /linearizable: a conflict/,
    {
      seen: [
        ...commits,
        {
          kind: 'commit',
          call: 55,
          return: 56,
          changes: [{ key: 'a', value: 'x', expected: 1 }],
          outcome: { conflict: 'a', current: a2 },
        },
      ],
    },
  ],
  [
    'a later commit got an earlier revision',
    /linearizable: a commit/,
    { seen: commits.map((one, at) => (at === 0 ? { ...one, call: 80, return: 90 } : one) as Seen) },
  ],
  [
    'a read is stale',
    /linearizable: a read/,
    { seen: [...commits, { kind: 'get', call: 35, return: 36, key: 'a', entry: a2 }] },
  ],
  [
    'a read sees the future',
    /linearizable: a read/,
    { seen: [...commits, { kind: 'get', call: 12, return: 13, key: 'a', entry: a5 }] },
  ],
  [
    'a read sees what never was',
    /linearizable: a read/,
    { seen: [...commits, { kind: 'get', call: 35, return: 36, key: 'a', entry: entry('a', 'x', 3) }] },
  ],
  [
    'a list is stale',
    /linearizable: a list/,
    {
      seen: [
        ...commits,
        { kind: 'list', call: 35, return: 36, prefix: '', asked: undefined, revision: 2, entries: [a2] },
      ],
    },
  ],
  [
    'a list mixes revisions',
    /snapshot/,
    {
      seen: [
        ...commits,
        { kind: 'list', call: 35, return: 36, prefix: '', asked: undefined, revision: 3, entries: [a2, b3] },
      ],
    },
  ],
  [
    'a list answers for another revision',
    /was asked for revision 2/,
    {
      seen: [...commits, { kind: 'list', call: 35, return: 36, prefix: '', asked: 2, revision: 3, entries: [a3, b3] }],
    },
  ],
  ['a watch misses a change', /reliable/, { seen: [...commits, watch(without(3, 'b'))] }],
  ['a watch misses a deletion', /reliable/, { seen: [...commits, watch(without(4, 'a'))] }],
  [
    'a watch repeats a change',
    /unique/,
    { seen: [...commits, watch([...batches, { events: log.slice(4), progress: 5 }])] },
  ],
  ['a watch goes back', /ordered/, { seen: [...commits, watch([{ events: [...log].reverse(), progress: 5 }])] }],
  [
    'a watch splits a revision',
    /bookmarkable/,
    {
      seen: [
        ...commits,
        watch([
          { events: log.slice(0, 2), progress: 3 },
          { events: log.slice(2), progress: 5 },
        ]),
      ],
    },
  ],
  ['progress runs ahead', /bookmarkable/, { seen: [...commits, watch([{ events: [], progress: 5 }, ...batches])] }],
  ['progress lags behind its events', /bookmarkable/, { seen: [...commits, watch([{ events: log, progress: 4 }])] }],
  ['a watch ignores its prefix', /filter/, { seen: [...commits, watch(batches, 1, 'b')] }],
  [
    'a watch tells a change that never was',
    /never happened/,
    { seen: [...commits, watch([...batches, { events: [event(6, 'a', entry('a', 'x', 6, 5), a5)], progress: 6 }])] },
  ],
  [
    'a watch tells another value',
    /is "x"/,
    { seen: [...commits, watch([{ events: [event(2, 'a', entry('a', 'x', 2))], progress: 2 }])] },
  ],
  [
    'a watch tells a wrong previous',
    /prevKV/,
    { seen: [...commits, watch([batches[0]!, { events: [event(3, 'a', a3), ...log.slice(2, 4)], progress: 4 }])] },
  ],
];

for (const [name, violation, changed] of wrong)
  test(`it is noticed when ${name}`, (t) => {
    const violations = checkHistory({ base, log, seen: commits, ...changed });
    t.true(
      violations.some((line) => violation.test(line)),
      violations.join('\n') || 'nothing was noticed',
    );
  });
