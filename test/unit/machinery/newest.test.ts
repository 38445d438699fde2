import test from 'ava';
import type { KubernetesObject } from '../../../kernel/contract/index.ts';
import type { Informer } from '../../../kernel/machinery/informer.ts';
import { Newest } from '../../../kernel/machinery/newest.ts';

const object = (name: string, revision: number): KubernetesObject => ({
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name, uid: name, resourceVersion: String(revision), creationTimestamp: '' },
});

test('own writes are seen until the informer has passed them, whatever it shows then', (t) => {
  const seen = new Map([['a', object('a', 5)]]);
  const informer = { revision: 5, get: (key: string) => seen.get(key), list: () => [...seen.values()] };
  const newest = new Newest(informer as unknown as Informer<KubernetesObject>);
  const revisions = () =>
    newest
      .list()
      .map(({ metadata }) => `${metadata.name}${metadata.resourceVersion}`)
      .sort();
  t.deepEqual(revisions(), ['a5']);
  t.is(newest.keep(object('a', 7)).metadata.resourceVersion, '7');
  newest.keep(object('b', 8));
  t.is(newest.get('a')?.metadata.resourceVersion, '7');
  t.deepEqual(revisions(), ['a7', 'b8']);
  seen.set('a', object('a', 9));
  informer.revision = 9;
  t.is(newest.get('a')?.metadata.resourceVersion, '9');
  t.is(newest.get('b'), undefined, 'made and deleted since');
  t.deepEqual(revisions(), ['a9']);
});
