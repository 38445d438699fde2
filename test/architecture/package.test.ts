import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import test from 'ava';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  readonly bin: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, string | { readonly types: string; readonly default: string }>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
};

test('every entry of exports and bin is there', (t) => {
  const targets = Object.values(manifest.exports).flatMap((target) =>
    typeof target === 'string' ? [target] : [target.types, target.default],
  );
  for (const target of [...targets, ...Object.values(manifest.bin)]) {
    const path = join(root, target);
    if (target.includes('*')) t.true(readdirSync(path.slice(0, path.indexOf('*'))).length > 0, target);
    else t.true(existsSync(path), target);
  }
});

test('every dependency is pinned to one version', (t) => {
  const all = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies });
  t.true(all.length > 10);
  t.deepEqual(
    all.filter(([, version]) => !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version)),
    [],
  );
});
