import test from 'ava';
import { PintleError, type Clock, type Cluster } from '../../../kernel/contract/index.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { recentReads } from '../../../plugins/components/node-agent/recent-reads.ts';

function open() {
  let now = 0;
  let asked = 0;
  let answer: () => Promise<unknown> = async () => ({ data: { a: '1' } });
  const cluster = {
    get: () => {
      asked += 1;
      return answer();
    },
  } as unknown as Cluster;
  const clock = { now: () => now } as Clock;
  const read = recentReads(cluster, clock);
  return {
    read: () => read(resources.configMaps, 'd', 'cm'),
    asked: () => asked,
    pass: (ms: number) => (now += ms),
    answers: (next: () => Promise<unknown>) => (answer = next),
  };
}

test('one request for all who ask within two seconds', async (t) => {
  const { read, asked, pass } = open();
  await Promise.all([read(), read()]);
  pass(1999);
  await read();
  t.is(asked(), 1);
  pass(1);
  await read();
  t.is(asked(), 2);
});

test('absence and failure are not remembered', async (t) => {
  const { read, asked, answers } = open();
  answers(() => Promise.reject(new PintleError('NOT_FOUND', 'none')));
  t.is(await read(), undefined);
  answers(() => Promise.reject(new PintleError('UNAVAILABLE', 'down')));
  await t.throwsAsync(read(), { message: 'down' });
  answers(async () => ({ data: { a: '2' } }));
  t.is(((await read()) as unknown as { data: Record<string, string> }).data['a'], '2');
  t.is(asked(), 3);
});
