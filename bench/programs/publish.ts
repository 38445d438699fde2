/**
 * Writes a result into the documents: `node out/bench/programs/publish.js [RESULT.json]`. With a result, it becomes
 * docs/standard.json first; without one, the documents are made anew from that file.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readResult } from '../method/result.ts';
import { compactOf, publishedFiles } from '../report/standard.ts';

/** Compiled files live in out/bench/programs/. */
const root = fileURLToPath(new URL('../../../', import.meta.url));
const committed = join(root, 'docs/standard.json');

const [given] = process.argv.slice(2);
if (given !== undefined) {
  const result = readResult(given);
  if (!result.complete) throw new Error(`${given} is of a run that was not complete: expected a whole standard matrix`);
  writeFileSync(committed, compactOf(result));
  process.stdout.write('written: docs/standard.json\n');
}
for (const [path, text] of publishedFiles(readResult(committed), (name) => readFileSync(join(root, name), 'utf8'))) {
  writeFileSync(join(root, path), text);
  process.stdout.write(`written: ${path}\n`);
}
