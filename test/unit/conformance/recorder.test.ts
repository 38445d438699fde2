import test from 'ava';
import { registerCases, skipCase, type KitCase } from '../../../kernel/conformance/kit.ts';
import { recordCases } from '../../../kernel/conformance/recorder.ts';

const cases: readonly KitCase<{ answer: number }, 'deep'>[] = [
  { title: 'holds', run: async (t, { answer }) => void t.is(answer, 42) },
  { title: 'does not hold', run: async (t, { answer }) => void t.is(answer, 41) },
  { title: 'throws', run: async () => Promise.reject(new Error('broken')) },
  { title: 'hangs', run: () => new Promise(() => undefined) },
  {
    title: 'expects another code',
    run: async (t) =>
      void (await t.throwsAsync(Promise.reject(Object.assign(new Error('x'), { code: 'A' })), { code: 'B' })),
  },
  { title: 'expects a rejection', run: async (t) => void (await t.throwsAsync(Promise.resolve())) },
  { title: 'is not declared', needs: ['deep'], run: async (t) => void t.pass() },
];

test('the recorder tells which cases of a kit passed and failed, and a case that does not apply is left out', async (t) => {
  const recorder = recordCases({ timeoutMs: 20 });
  const closed: string[] = [];
  registerCases(recorder.test, {
    name: 'subject',
    capabilities: [],
    cases,
    subject: (of) => {
      of.teardown(() => closed.push('closed'));
      return { answer: 42 };
    },
  });
  const results = await recorder.run();
  t.deepEqual(
    results.map(({ title, outcome }) => [title, outcome]),
    [
      ['subject: holds', 'passed'],
      ['subject: does not hold', 'failed'],
      ['subject: throws', 'failed'],
      ['subject: hangs', 'failed'],
      ['subject: expects another code', 'failed'],
      ['subject: expects a rejection', 'failed'],
    ],
  );
  t.is(closed.length, 6, 'every case that ran was torn down');
  t.regex(results[3]!.failures[0]!, /did not end within 20 ms/);
});

test.serial(
  'a case that cannot run here is skipped with its reason, and fails when everything is required',
  async (t) => {
    const before = process.env['REQUIRE_ALL'];
    t.teardown(() => {
      if (before === undefined) delete process.env['REQUIRE_ALL'];
      else process.env['REQUIRE_ALL'] = before;
    });
    delete process.env['REQUIRE_ALL'];
    const lenient = recordCases();
    skipCase(lenient.test, 'needs root', 'not root');
    process.env['REQUIRE_ALL'] = '1';
    const strict = recordCases();
    skipCase(strict.test, 'needs root', 'not root');
    t.deepEqual(await lenient.run(), [
      { title: 'needs root (cannot run here: not root)', outcome: 'skipped', failures: [] },
    ]);
    t.is((await strict.run())[0]?.outcome, 'failed');
  },
);

test("AVA's own test function is one that kits accept", (t) => {
  const accepts: Parameters<typeof skipCase>[0] = test;
  t.is(typeof accepts.skip, 'function');
});

test('what a case makes after it was given up is undone all the same', async (t) => {
  const recorder = recordCases({ timeoutMs: 20 });
  const undone = new Promise<string>((resolve) => {
    recorder.test('late', async (of) => {
      await new Promise((later) => setTimeout(later, 60));
      of.teardown(() => resolve('undone'));
    });
  });
  t.is((await recorder.run())[0]?.outcome, 'failed');
  t.is(await undone, 'undone');
});
