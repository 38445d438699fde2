import { Writable } from 'node:stream';
import test from 'ava';
import { Terminal } from '../../../cli/terminal.ts';

function table(columns: number | undefined): readonly string[] {
  let text = '';
  const out = new Writable({
    write(chunk: Buffer, _encoding, done) {
      text += chunk.toString();
      done();
    },
  });
  if (columns !== undefined) Object.assign(out, { isTTY: true, columns });
  const terminal = new Terminal(out, out, { NO_COLOR: '1' });
  terminal.table(
    ['NAME', 'WHAT'],
    [
      ['a', 'one two three four five six'],
      ['long-name', 'short'],
    ],
  );
  return text.trimEnd().split('\n');
}

test('without a terminal a row is a line', (t) => {
  t.deepEqual(table(undefined), ['NAME       WHAT', 'a          one two three four five six', 'long-name  short']);
});

test('on a narrow terminal the last column goes on below itself', (t) => {
  t.deepEqual(table(30), [
    'NAME       WHAT',
    'a          one two three four',
    '           five six',
    'long-name  short',
  ]);
});

test('a terminal with no room for prose breaks lines itself', (t) => {
  t.deepEqual(table(20), table(undefined));
});
