import test from 'ava';
import { joined } from '../../../plugins/components/api-server/watch-stream.ts';

const [a, b, c] = ['a\n', 'b\n', 'c\n'].map((text) => Buffer.from(text)) as [Buffer, Buffer, Buffer];

test('watchers that get the same lines in one tick share their bytes, others do not', (t) => {
  const first = joined([a, b], 4);
  t.is(first.toString(), 'a\nb\n');
  t.is(joined([a, b], 4), first);
  t.is(joined([a, c], 4).toString(), 'a\nc\n');
  t.is(joined([a, b, c], 6).toString(), 'a\nb\nc\n');
  t.is(joined([b], 2), b);
  t.is(joined([Buffer.from('a\n'), b], 4).toString(), 'a\nb\n');
});
