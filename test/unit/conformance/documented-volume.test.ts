/** The volume driver that docs/plugins.md shows is loaded as it stands there, and passes the kit. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import test from 'ava';
import { volumeConformance } from '../../../kernel/conformance/volume.ts';
import type { VolumeDriver } from '../../../kernel/contract/index.ts';
import { startPlugin } from '../controllers/control-plane.ts';
import { volumeBed } from './volume-bed.ts';

const root = fileURLToPath(new URL('../../../../', import.meta.url));
const document = readFileSync(join(root, 'docs/plugins.md'), 'utf8');
const [, code] = /```ts\n((?:(?!```)[\s\S])*?kind: 'volume'[\s\S]*?)```/.exec(document) ?? [];

// Below the package, so that it finds its libraries.
mkdirSync(join(root, 'out/temporary'), { recursive: true });
const folder = mkdtempSync(join(root, 'out/temporary/documented-'));
test.after.always(() => rmSync(folder, { recursive: true, force: true }));
const file = join(folder, 'driver.mjs');
const contract = pathToFileURL(join(root, 'out/kernel/contract/index.js')).href;
writeFileSync(file, (code ?? '').replace("'pintle/contract'", JSON.stringify(contract)));

volumeConformance(test, {
  name: 'documented',
  capabilities: [],
  open: async (t) => {
    const plugin = ((await import(pathToFileURL(file).href)) as { default: Parameters<typeof startPlugin>[0] }).default;
    const shared = mkdtempSync(join(folder, 'files-'));
    return volumeBed(
      t,
      () => startPlugin<VolumeDriver>(plugin, { config: { folder: shared } }),
      (path) => {
        const volumeHandle = basename(path);
        symlinkSync(path, join(shared, volumeHandle));
        return { csi: { driver: 'files.example.com', volumeHandle } };
      },
    );
  },
});
