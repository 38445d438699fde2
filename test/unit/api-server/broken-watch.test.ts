/** A watch that a bug ends is told to its client and to the log; one that ends as the API has it only to its client. */
import test from 'ava';
import { PintleError, type KubernetesObject, type WatchEvent } from '../../../kernel/contract/index.ts';
import { openWatch, quiet, startApi } from './api-harness.ts';
import { fakeCluster } from './fake-cluster.ts';

for (const [what, failure, code, lines] of [
  ['a bug', new TypeError('x is not a function'), 500, 1],
  ['history that is gone', new PintleError('EXPIRED', 'too old resource version: 1 (2)'), 410, 0],
] as const)
  test(`a watch ended by ${what}`, async (t) => {
    const cluster = fakeCluster();
    const event: WatchEvent<KubernetesObject> = {
      type: 'ADDED',
      object: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' } } as KubernetesObject,
    };
    cluster.watch = async function* () {
      yield [event] as never;
      throw failure;
    };
    const logged: string[] = [];
    await using api = await startApi({ cluster, log: { ...quiet, error: (message) => void logged.push(message) } });
    const watch = await openWatch(api.socket, '/api/v1/namespaces/default/configmaps?watch=1');
    t.is((await watch.next()).type, 'ADDED');
    t.like(await watch.next(), { type: 'ERROR', object: { kind: 'Status', code } });
    t.is(await watch.next(), undefined);
    t.is(logged.length, lines);
    if (lines > 0) t.regex(logged[0]!, /watch failed: .*configmaps: TypeError: x is not a function\n +at /);
  });
