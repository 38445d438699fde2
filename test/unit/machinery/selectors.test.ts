import test from 'ava';
import { isPintleError } from '../../../kernel/contract/index.ts';
import {
  labelSelector,
  mapSelector,
  parseFieldSelector,
  parseLabelSelector,
} from '../../../kernel/machinery/selectors.ts';

const labels = { app: 'web', tier: 'front', size: '10', 'example.com/x': '', __proto__x: 'y' };

const matching: [selector: string, matches: boolean, printed?: string][] = [
  ['', true],
  ['app=web', true],
  ['app==web', true, 'app=web'],
  [' app = web ', true, 'app=web'],
  ['app=db', false],
  ['app!=db', true],
  ['missing!=x', true],
  ['missing=', false],
  ['example.com/x=', true],
  ['app', true],
  ['!app', false],
  ['!missing', true],
  ['app in (web,db)', true, 'app in (db,web)'],
  ['app notin (web)', false],
  ['missing notin (web)', true],
  ['size>9', true],
  ['size<10', false],
  ['app>1', false],
  ['tier=front,app in (web)', true, 'app in (web),tier=front'],
  ['tier=front,app=db', false, 'app=db,tier=front'],
  ['in in (in)', false],
  ['constructor', false],
  ['toString!=x', true],
];
for (const [text, matches, printed = text] of matching) {
  test(`label selector ${JSON.stringify(text)}`, (t) => {
    const selector = parseLabelSelector(text);
    t.is(selector.matches(labels), matches);
    t.is(selector.toString(), printed);
    t.is(parseLabelSelector(printed).toString(), printed);
  });
}

const broken: [text: string, words: RegExp][] = [
  ['=a', /found '=', expected: !, identifier, or 'end of string'/],
  ['a,', /expected: identifier after ','/],
  ['a in x', /found 'x' expected: '\('/],
  ['a in (x', /expected: ',' or '\)'/],
  ['a b', /found 'b', expected: =, ==, !=, in, notin, >, </],
  ['a=b c', /expected: ',' or 'end of string'/],
  ['-a=b', /name part must consist of alphanumeric/],
  ['a=-b', /a valid label must be an empty string/],
  ['a>x', /the value must be an integer/],
  [`a=${'x'.repeat(64)}`, /must be no more than 63/],
  ['x/y/z', /a qualified name must consist/],
  ['!'.repeat(10_000), /expected: identifier/],
];
for (const [text, words] of broken) {
  test(`broken label selector ${JSON.stringify(text.slice(0, 20))}`, (t) => {
    const error = t.throws(() => parseLabelSelector(text), { message: words });
    t.true(isPintleError(error, 'BAD_REQUEST'));
  });
}

test('an object selector: undefined matches nothing, {} everything', (t) => {
  t.false(labelSelector(undefined).matches({}));
  t.true(labelSelector({}).matches(undefined));
  t.true(labelSelector({}).isEverything);
  const selector = labelSelector({
    matchLabels: { app: 'web' },
    matchExpressions: [
      { key: 'tier', operator: 'In', values: ['front', 'back'] },
      { key: 'gone', operator: 'DoesNotExist' },
    ],
  });
  t.true(selector.matches(labels));
  t.false(selector.matches({ ...labels, gone: '' }));
  t.is(selector.toString(), 'app=web,!gone,tier in (back,front)');
  t.throws(() => labelSelector({ matchExpressions: [{ key: 'a', operator: 'Near' }] }), {
    message: /not a valid label selector operator/,
  });
  t.throws(() => labelSelector({ matchExpressions: [{ key: 'a', operator: 'In' }] }), {
    message: /values set can't be empty/,
  });
  t.throws(() => labelSelector({ matchExpressions: [{ key: 'a', operator: '__proto__' }] }));
});

test('a map selector that is empty matches nothing', (t) => {
  t.false(mapSelector({}).matches({}));
  t.true(mapSelector({ app: 'web' }).matches(labels));
});

const fields: Record<string, string> = { 'status.phase': 'Running', 'spec.nodeName': 'a,b=c\\' };
const fieldCases: [text: string, matches: boolean][] = [
  ['', true],
  ['status.phase=Running', true],
  ['status.phase==Running', true],
  ['status.phase!=Failed,status.phase!=Succeeded', true],
  ['status.phase!=Running', false],
  ['metadata.namespace=', true],
  ['spec.nodeName=a\\,b\\=c\\\\', true],
  ['status.phase=Running,spec.nodeName=x', false],
];
for (const [text, matches] of fieldCases) {
  test(`field selector ${JSON.stringify(text)}`, (t) => {
    const selector = parseFieldSelector(text);
    const get = (path: string): string => fields[path] ?? '';
    t.is(selector.matches(get), matches);
    t.is(parseFieldSelector(selector.toString()).matches(get), matches);
  });
}
test('broken field selectors', (t) => {
  t.throws(() => parseFieldSelector('status.phase'), { message: /can't understand 'status\.phase'/ });
  t.throws(() => parseFieldSelector('a=b\\'), { message: /invalid escape sequence/ });
  t.throws(() => parseFieldSelector('a=b\\x'), { message: /invalid escape sequence/ });
  t.throws(() => parseFieldSelector('a=b=c'), { message: /unescaped character/ });
});
