import test from 'ava';
import { countKeys, countSpelledKeys, maxDepth, scanJson } from '../../../plugins/components/api-server/scan-json.ts';

const duplicates: [text: string, expected: string[]][] = [
  ['{"a":1,"b":2}', []],
  ['{"a":1,"a":2}', ['a']],
  ['{"spec":{"replicas":1,"x":{},"replicas":2}}', ['spec.replicas']],
  ['{"spec":{"containers":[{"name":"a"},{"name":"b","name":"c","image":"i"}]}}', ['spec.containers[1].name']],
  ['{"a":{"x":1},"b":{"x":1}}', []],
  ['{"a":["x","x",{"a":"a"}],"b":"a"}', []],
  ['{"a\\u0062":1,"ab":2}', ['ab']],
  ['{"a":"{\\"a\\":1,\\"a\\":2}"}', []],
  ['{"a":1,"a":1,"a":1}', ['a']],
  ['{"__proto__":1,"__proto__":2}', ['__proto__']],
];
for (const [text, expected] of duplicates) {
  test(`duplicates in ${text}`, (t) => t.deepEqual(scanJson(text), expected));
}

for (const [text, expected] of duplicates) {
  test(`keys counted in ${text}`, (t) => {
    const isAsMany = countKeys(JSON.parse(text), maxDepth) === countSpelledKeys(text);
    t.is(isAsMany, expected.length === 0);
  });
}

test('keys are counted whatever stands around and within them', (t) => {
  const text = ' { "a" \n:\t"x: y", "b\\"" : [ "c", ":", {"d":{}} , [] ], "": "\\\\" , "e":null } ';
  t.is(countSpelledKeys(text), 5);
  t.is(countKeys(JSON.parse(text), maxDepth), 5);
  t.is(countKeys(JSON.parse('['.repeat(20) + ']'.repeat(20)), 20), 0);
  t.is(countKeys(JSON.parse('['.repeat(21) + ']'.repeat(21)), 20), Number.NaN);
});
