import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { readCode } from '../../../cli/deliver/code.ts';

const job = { namespace: 'default', name: 'shop' };

function folder(t: ExecutionContext, files: Readonly<Record<string, string | Buffer>>): string {
  const made = mkdtempSync(join(tmpdir(), 'pintle-code-'));
  t.teardown(() => rmSync(made, { recursive: true }));
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(join(made, path, '..'), { recursive: true });
    writeFileSync(join(made, path), content);
  }
  return made;
}

test('every file keeps its path, content and whether it is a program', (t) => {
  const made = folder(t, { 'a/b.js': 'one', run: '#!/bin/sh', '.git/HEAD': 'x' });
  chmodSync(join(made, 'run'), 0o750);
  const code = readCode(made, job);
  t.is(code.files, 2);
  t.is(code.maps.length, 1);
  t.deepEqual(code.sources[0]!.configMap!.items, [
    { key: 'f0', path: 'a/b.js', mode: 0o644 },
    { key: 'f1', path: 'run', mode: 0o755 },
  ]);
  t.is(Buffer.from(code.maps[0]!.binaryData!['f0']!, 'base64').toString(), 'one');
  t.is(code.sources[0]!.configMap!.name, code.maps[0]!.metadata.name);
});

test('the id is of the content: the same again, another for a byte, a path or a mode', (t) => {
  const made = folder(t, { a: 'one', b: 'two' });
  const { id } = readCode(made, job);
  t.is(readCode(folder(t, { a: 'one', b: 'two' }), job).id, id);
  t.not(readCode(folder(t, { a: 'one', b: 'twO' }), job).id, id);
  t.not(readCode(folder(t, { a: 'one', c: 'two' }), job).id, id);
  t.not(readCode(folder(t, { a: 'onet', b: 'wo' }), job).id, id);
  chmodSync(join(made, 'a'), 0o755);
  t.not(readCode(made, job).id, id);
});

test('code larger than one ConfigMap is spread over several, none above its limit', (t) => {
  const piece = Buffer.alloc(400_000, 7);
  const code = readCode(folder(t, { a: piece, b: piece, c: piece, d: piece, e: piece }), job);
  t.is(code.maps.length, 3);
  for (const map of code.maps) {
    const bytes = Object.values(map.binaryData!).reduce((sum, each) => sum + Buffer.from(each, 'base64').length, 0);
    t.true(bytes <= 1024 * 1024);
  }
  t.is(code.sources.flatMap((source) => source.configMap!.items!).length, 5);
});

test('what cannot travel is refused by name, with what to do', (t) => {
  t.throws(() => readCode('/nowhere/at/all', job), { message: /\/nowhere\/at\/all is no folder/ });
  t.throws(() => readCode(folder(t, {}), job), { message: /has no file/ });
  t.throws(() => readCode(folder(t, { big: Buffer.alloc(1_100_000) }), job), {
    message: /big has 1100000 bytes.*deliver an image/,
  });
  const linked = folder(t, { a: 'x' });
  symlinkSync('a', join(linked, 'b'));
  t.throws(() => readCode(linked, job), { message: /b is neither a file nor a folder/ });
  const many = Object.fromEntries(Array.from({ length: 18 }, (_, index) => [`f${index}`, Buffer.alloc(1_000_000)]));
  t.throws(() => readCode(folder(t, many), job), { message: /holds more than 16 MiB/ });
});
