import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { builtIns } from '../../../cli/built-ins.ts';
import { defaults } from '../../../cli/default-config.ts';
import { Catalogue } from '../../../kernel/registry/catalogue.ts';

const repository = fileURLToPath(new URL('../../../../', import.meta.url));
const catalogue = new Catalogue(builtIns);

for (const item of catalogue.items())
  test(`built-in ${item.kind}/${item.name} is what its entry says, and accepts an empty config`, async (t) => {
    const plugin = await item.plugin();
    t.is(plugin.summary, item.summary);
    t.false(plugin.summary.endsWith('.'));
    // the agent's command line says where the API is
    const given = item.name === 'remote' ? { server: 'unix:/run/pintle/api.sock' } : {};
    const empty = await plugin.config['~standard'].validate(given);
    t.is(empty.issues, undefined);
    const unknown = await plugin.config['~standard'].validate({ ...given, noSuchKeyEver: 1 });
    t.truthy(unknown.issues, 'an unknown key must be refused');
    t.truthy(plugin.config['~standard'].jsonSchema?.input({ target: 'draft-2020-12' }));
  });

test('every plugin folder has its entry', (t) => {
  const folders = {
    store: 'plugins/stores',
    cluster: 'plugins/clusters',
    scheduler: 'plugins/schedulers',
    controller: 'plugins/controllers',
    runtime: 'plugins/runtimes',
    attachment: 'netplugins/attachments',
    overlay: 'netplugins/overlays',
    proxy: 'netplugins/proxies',
    component: 'plugins/components',
  } as const;
  for (const [kind, folder] of Object.entries(folders)) {
    const names = readdirSync(`${repository}${folder}`, { withFileTypes: true }).flatMap((entry) =>
      entry.isDirectory() ? [entry.name] : [],
    );
    t.deepEqual(catalogue.names(kind as keyof typeof folders).toSorted(), names.toSorted(), folder);
  }
});

test('every plugin of the default config is a built-in', (t) => {
  for (const [kind, choices] of Object.entries(defaults.use))
    for (const { name } of choices) t.truthy(catalogue.get(kind as keyof typeof defaults.use, name), `${kind}/${name}`);
});
