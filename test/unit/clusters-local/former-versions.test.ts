import test from 'ava';
import { ns, open, types } from './harness.ts';

const key = (name: string) => ({ namespace: ns, name });

test('budgets and cron jobs of v1beta1 are those of v1', async (t) => {
  const { cluster } = await open(t);
  const job = { spec: { template: { spec: { restartPolicy: 'Never', containers: [{ name: 'c', image: 'host' }] } } } };
  const cron = { metadata: key('c'), spec: { schedule: '* * * * *', jobTemplate: job } };
  const made = await cluster.create(types.cronJobsV1beta1, cron);
  t.is(made.apiVersion, 'batch/v1beta1');
  const stored = await cluster.get(types.cronJobs, key('c'));
  t.is(stored.apiVersion, 'batch/v1');
  t.is(stored.metadata.uid, made.metadata.uid);
  await cluster.patch(types.cronJobsV1beta1, key('c'), { kind: 'merge', body: { spec: { suspend: true } } });
  t.true((await cluster.get(types.cronJobs, key('c'))).spec.suspend);
  await cluster.create(types.podDisruptionBudgets, {
    metadata: key('b'),
    spec: { minAvailable: 1, selector: { matchLabels: { a: 'b' } } },
  });
  const shown = await cluster.get(types.podDisruptionBudgetsV1beta1, key('b'));
  t.is(shown.apiVersion, 'policy/v1beta1');
  t.deepEqual(shown.spec?.selector, { matchLabels: { a: 'b' } });
  t.is((await cluster.list(types.podDisruptionBudgetsV1beta1)).items.length, 1);
});

test('an empty selector of a v1beta1 budget chooses nothing, in v1 as well', async (t) => {
  const { cluster } = await open(t);
  const made = await cluster.create(types.podDisruptionBudgetsV1beta1, {
    metadata: key('b'),
    spec: { minAvailable: 1, selector: {} },
  });
  t.deepEqual(made.spec?.selector, {});
  const { selector } = (await cluster.get(types.podDisruptionBudgets, key('b'))).spec!;
  t.is(selector?.matchExpressions?.[0]?.operator, 'Exists');
});
