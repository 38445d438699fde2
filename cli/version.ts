import { readFileSync } from 'node:fs';

/** The package's version; compiled files live in out/cli/, two folders below package.json. */
export function version(): string {
  const manifest = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(manifest) as { readonly version: string }).version;
}
