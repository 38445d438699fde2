import test from 'ava';
import { encodeObject, forgetEncoded } from '../../../plugins/components/api-server/encode-object.ts';

test.serial('bytes of a frozen object are shared, kept while somebody reads them, and let go when nobody does', (t) => {
  const object = Object.freeze({ a: 1 });
  const other = Object.freeze({ b: 2 });
  const [bytes, others] = [encodeObject(object), encodeObject(other)];
  t.is(bytes.toString(), '{"a":1}');
  t.is(encodeObject(object), bytes);
  forgetEncoded();
  t.is(encodeObject(object), bytes, 'read since');
  forgetEncoded();
  t.is(encodeObject(object), bytes);
  t.not(encodeObject(other), others, 'not read for two turns');
  t.deepEqual(encodeObject(other), others);
});

test.serial('what may still change is encoded each time', (t) => {
  const object = { a: 1 };
  t.is(encodeObject(object).toString(), '{"a":1}');
  object.a = 2;
  t.is(encodeObject(object).toString(), '{"a":2}');
});
