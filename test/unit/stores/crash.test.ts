import test, { type ExecutionContext } from 'ava';
import { runCrashes, type CrashOptions, type CrashReport } from '../../../bench/crash/run-crashes.ts';
import { createStoreSystem } from '../../../bench/crash/store-system.ts';

async function crash(t: ExecutionContext, plugin: string, options: CrashOptions): Promise<CrashReport> {
  const system = await createStoreSystem(plugin, new URL(plugin, import.meta.url));
  t.teardown(() => system.dispose());
  return runCrashes(system, options);
}

test('25 kills under load: lmdb loses no acknowledged write, and watches resume without gap or duplicate', async (t) => {
  t.timeout(120_000);
  const seed = Math.floor(Math.random() * 2 ** 31);
  t.log(`seed ${seed}`);
  const report = await crash(t, '../../../plugins/stores/lmdb/index.js', { kills: 25, seed });
  t.deepEqual(report.violations, []);
  t.is(report.kills, 25);
  t.true(report.acknowledged > 25, `${report.acknowledged} acknowledged writes show nothing`);
  t.true(report.unanswered > 0, 'kills that cut off no write show nothing');
  t.true(report.watchEvents > 100);
  t.log(report);
});

test('it is noticed when a store loses what it acknowledged', async (t) => {
  t.timeout(60_000);
  const { violations } = await crash(t, '../../../plugins/stores/memory/index.js', { kills: 2 });
  t.true(
    violations.some((line) => line.startsWith('durable:')),
    violations.join('\n'),
  );
});

test('it is noticed when a watch that resumes repeats or skips a change', async (t) => {
  t.timeout(60_000);
  // The first violation ends it, which as a rule is in the first rounds.
  for (const [plugin, violation] of [
    ['./repeating-store.js', /bookmarkable|unique/],
    ['./skipping-store.js', /reliable/],
  ] as const) {
    const { violations } = await crash(t, plugin, { kills: 10, longestLoadMs: 20 });
    t.true(
      violations.some((line) => violation.test(line)),
      violations.slice(0, 10).join('\n') || `${plugin}: nothing was noticed`,
    );
  }
});
