import test from 'ava';
import { encodeList, encodeObject, forgetEncoded } from '../../../plugins/components/api-server/encode-object.ts';

const head = { kind: 'ConfigMapList', apiVersion: 'v1', resourceVersion: '1' };

test.serial('bytes of a frozen object that passes by are shared, and let go when others have followed', (t) => {
  const object = Object.freeze({ a: 1 });
  const bytes = encodeObject(object);
  t.is(bytes.toString(), '{"a":1}');
  t.is(encodeObject(object), bytes);
  const large = 'x'.repeat(400_000);
  for (let count = 0; count < 8; count++) encodeObject(Object.freeze({ count, large }));
  t.not(encodeObject(object), bytes);
  t.deepEqual(encodeObject(object), bytes);
});

test.serial('what a list holds is kept while lists ask for it, and let go when none does', (t) => {
  let encoded = 0;
  const object = Object.freeze({ toJSON: () => ({ encoded: ++encoded }) });
  const listed = (): string => encodeList(head, [object]).toString();
  t.regex(listed(), /"items":\[\{"encoded":1\}\]\}\n$/);
  for (let turn = 0; turn < 3; turn++) {
    forgetEncoded();
    t.regex(listed(), /"encoded":1/, 'asked for since');
  }
  t.is(encodeObject(object).toString(), '{"encoded":1}', 'one and the same for a single reader');
  forgetEncoded();
  forgetEncoded();
  t.regex(listed(), /"encoded":2/, 'not asked for in two turns');
});

test.serial('what may still change is encoded each time', (t) => {
  const object = { a: 1 };
  t.is(encodeObject(object).toString(), '{"a":1}');
  object.a = 2;
  t.is(encodeObject(object).toString(), '{"a":2}');
});
