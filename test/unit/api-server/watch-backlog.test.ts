/** Clients of watches that never read: what waits for all of them is bounded, and the one that is behind longest goes first. */
import test from 'ava';
import { connect, type Socket } from 'node:net';
import type { KubernetesObject } from '../../../kernel/contract/index.ts';
import { WatchBacklog } from '../../../plugins/components/api-server/watch-backlog.ts';
import { openWatch, startApi } from './api-harness.ts';

test('those that are behind for the longest are cut, and no more of them than needed', (t) => {
  const cut: string[] = [];
  const client = (name: string) => ({ cut: () => void cut.push(name) });
  const [first, second, third] = [client('first'), client('second'), client('third')];
  const backlog = new WatchBacklog(100, () => cut.push('counted'));
  backlog.note(first, 40);
  backlog.note(second, 40);
  backlog.note(first, 50);
  t.is(backlog.bytes, 90);
  backlog.note(first, 0);
  backlog.note(first, 50);
  t.deepEqual(cut, [], 'who has read everything stands at the end again');
  backlog.note(third, 45);
  t.deepEqual(cut, ['counted', 'second']);
  t.is(backlog.bytes, 95);
  backlog.note(third, 101);
  t.deepEqual(cut, ['counted', 'second', 'counted', 'first', 'counted', 'third'], 'one alone may be too much');
  t.is(backlog.bytes, 0);
});

test('a thousand clients that begin to read at once are all within their shares, and none is cut', (t) => {
  const limitBytes = 32 * 2 ** 20;
  const backlog = new WatchBacklog(limitBytes, () => t.fail('one was cut'));
  t.is(backlog.share, 256 * 1024, 'one alone is held up late');
  const clients = Array.from({ length: 1_000 }, () => ({ cut: () => t.fail() }));
  for (const client of clients) backlog.note(client, Math.max(backlog.share, 16 * 1024) + 1_500);
  t.true(backlog.bytes > limitBytes / 4 && backlog.bytes < limitBytes, `${backlog.bytes}`);
  for (const client of clients) backlog.note(client, 0);
  t.deepEqual([backlog.bytes, backlog.share], [0, 256 * 1024]);
});

/** Asks for a watch and does not read until told to. */
function deafWatch(socketPath: string, path: string): Socket {
  const socket = connect(socketPath, () => socket.write(`GET ${path} HTTP/1.1\r\nHost: pintle\r\n\r\n`));
  return socket.on('error', () => undefined).pause();
}

test('watches that nobody reads are cut when too much waits for them, and those that are read go on', async (t) => {
  await using api = await startApi({ config: { watchBacklogMegabytes: 0.5 } });
  const path = '/api/v1/namespaces/default/configmaps';
  const deaf = Array.from({ length: 24 }, () => deafWatch(api.socket, `${path}?watch=1`));
  t.teardown(() => deaf.forEach((socket) => socket.destroy()));
  const reader = await openWatch(api.socket, `${path}?watch=1`);
  t.teardown(() => reader.close());
  const metric = async (name: string): Promise<number> => {
    const { text } = await api.call('GET', '/metrics');
    return Number(new RegExp(`^${name} (\\d+)`, 'm').exec(text)?.[1] ?? 0);
  };
  while ((await metric('apiserver_longrunning_requests')) < deaf.length + 1)
    await new Promise((resolve) => setTimeout(resolve, 20));

  const data = { text: 'x'.repeat(60_000) };
  const objects = 40;
  const seen: string[] = [];
  const reading = (async () => {
    while (seen.length < objects) {
      const { type, object } = (await reader.next()) as { type: string; object: KubernetesObject };
      if (type === 'ADDED' && object.metadata.name.startsWith('large-')) seen.push(object.metadata.name);
    }
  })();
  const names = Array.from({ length: objects }, (_, index) => `large-${index}`);
  for (const name of names)
    await api.call('POST', path, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data });
  await reading;
  t.deepEqual(seen, names, 'a reader misses nothing');

  // A socket takes about 200 KB by itself, a watch keeps a line of 60 KB at least: for 8 of 24 there is room.
  while ((await metric('apiserver_terminated_watchers_total')) < 12)
    await new Promise((resolve) => setTimeout(resolve, 20));
  while ((await metric('apiserver_longrunning_requests')) > deaf.length - 12 + 1)
    await new Promise((resolve) => setTimeout(resolve, 20));
  let closed = 0;
  await new Promise<void>((resolve) => {
    for (const socket of deaf) socket.resume().once('close', () => void (++closed === 12 && resolve()));
  });
  await api.call('POST', path, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'last' } });
  t.like(await reader.next(), { object: { metadata: { name: 'last' } } }, 'the reader is still there');
});
