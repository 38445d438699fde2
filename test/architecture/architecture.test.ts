import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { importCycles } from './import-cycles.ts';
import { importRules, type SourceFile, sourcesBelow, specifiersOf, textRules, violations } from './import-rules.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const sources = sourcesBelow(root);
const rules = [...importRules, ...textRules];

for (const { says } of rules)
  test(`rule: ${says}`, (t) => {
    const broken = violations(root, sources).filter((violation) => violation.says === says);
    t.deepEqual(
      broken.map(({ file, target }) => `${file}${target === undefined ? '' : ` imports ${target}`}`),
      [],
    );
  });

const fixture = new URL('test/fixtures/bad-architecture/sources.json', `file://${root}`);
const bad = JSON.parse(readFileSync(fixture, 'utf8')) as readonly (SourceFile & { readonly rule: string })[];

for (const { rule, path, text } of bad)
  test(`reported: ${path} breaking "${rule}"`, (t) => {
    const found = violations(root, [{ path, text }]).map(({ says }) => says);
    t.true(found.includes(rule), JSON.stringify(found));
  });

test('no files import each other in a circle', (t) => {
  t.deepEqual(importCycles(root, sources), []);
});

test('a circle of imports is reported, a diamond is not', (t) => {
  const files = { a: ['b', 'c'], b: ['d'], c: ['d'], d: [], e: ['f'], f: ['g'], g: ['e', 'a'] };
  const made = Object.entries(files).map(([name, imported]) => ({
    path: `cli/${name}.ts`,
    text: imported.map((each) => `import type { X } from './${each}.ts';`).join('\n'),
  }));
  t.deepEqual(importCycles(root, made), [['cli/e.ts', 'cli/f.ts', 'cli/g.ts']]);
});

test('every rule has a source that breaks it', (t) => {
  const shown = new Set(bad.map(({ rule }) => rule));
  t.deepEqual(
    rules.map(({ says }) => says).filter((says) => !shown.has(says)),
    [],
  );
});

test('the sources of every ring are read', (t) => {
  for (const ring of [
    'kernel/contract',
    'kernel/registry',
    'kernel/machinery',
    'plugins/stores',
    'netplugins/linux',
    'cli',
    'test',
  ])
    t.true(
      sources.some(({ path }) => path.startsWith(`${ring}/`)),
      ring,
    );
  t.true(sources.reduce((count, { text }) => count + specifiersOf(text).length, 0) > 500);
});

const forms: readonly (readonly [code: string, specifiers: readonly string[]])[] = [
  [`import a from 'x';`, ['x']],
  [`import a, { b, type C } from "x";`, ['x']],
  [`import {\n  a,\n  b,\n} from './long.ts';`, ['./long.ts']],
  [`import type { A } from 'x';`, ['x']],
  [`import * as a from 'x';`, ['x']],
  [`import 'effects';`, ['effects']],
  [`export { a } from 'x';`, ['x']],
  [`export * from 'x';`, ['x']],
  [`const a = await import('x');`, ['x']],
  [`type A = import('x').B;`, ['x']],
  [`const a = require("x");`, ['x']],
  [`// import a from 'x';\n/* import b from 'y'; */\nconst c = 1;`, []],
  [`const important = 'import';\nconst text = 'x';`, []],
  [`import a from 'x';\nimport b from 'y';`, ['x', 'y']],
];
for (const [code, specifiers] of forms)
  test(`imports are found in ${JSON.stringify(code)}`, (t) => {
    t.deepEqual(specifiersOf(code), specifiers);
  });

/** The kernel is to be read in one sitting. */
const kernelBudget = 2000;
test(`registry, config, life cycle and composition together stay under ${kernelBudget} lines`, (t) => {
  const folders = ['kernel/registry/', 'kernel/config/', 'kernel/composition/'];
  const files = sources.filter(({ path }) => folders.some((folder) => path.startsWith(folder)));
  const lines = files.reduce((count, { text }) => count + text.split('\n').length - 1, 0);
  t.log(`${lines} lines in ${files.length} files`);
  t.true(files.length > 10);
  t.true(lines < kernelBudget, `${lines} lines`);
});

test('no file is too long to read', (t) => {
  const generated = [
    'kernel/contract/kubernetes.ts',
    'kernel/machinery/resources.ts',
    'kernel/machinery/schema/table-data.ts',
  ];
  const long = sources.filter(
    ({ path, text }) => !path.startsWith('test/') && !generated.includes(path) && text.split('\n').length > 450,
  );
  t.deepEqual(
    long.map(({ path }) => path),
    [],
  );
});
