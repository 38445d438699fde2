import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { startKernel } from '../../../kernel/composition/start-kernel.ts';
import { loadConfig } from '../../../kernel/config/load-config.ts';
import { type ErrorCode, isPintleError, type PintleError } from '../../../kernel/contract/index.ts';
import { Catalogue } from '../../../kernel/registry/catalogue.ts';
import { checkPlugin, instanceFault } from '../../../kernel/registry/plugin-shape.ts';
import { kinds } from '../../../kernel/registry/kind-facts.ts';
import { entryOf, fakePlugin, instanceOfKind, noDefaults } from './fake-plugins.ts';

function folder(t: ExecutionContext, files: Readonly<Record<string, string>>): string {
  const root = mkdtempSync(join(tmpdir(), 'pintle-catalogue-'));
  t.teardown(() => rmSync(root, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  return root;
}

async function failure(run: Promise<unknown>): Promise<PintleError> {
  try {
    await run;
  } catch (error) {
    if (isPintleError(error)) return error;
    throw error;
  }
  throw new Error('did not fail');
}

const plugin = (kind: string, name: string, more = ''): string =>
  `{ kind: '${kind}', name: '${name}', api: 1, summary: 'made for a test', ${more}
     config: { '~standard': { version: 1, vendor: 'none', validate: (value) => ({ value }) } },
     start: async () => ({ filter: () => ({ fits: true }), score: () => 7, [Symbol.asyncDispose]: async () => {} }) }`;
const module = (text: string): string => `export default ${text};\n`;

test('modules are found beside the config file, as packages, as URLs, one or several plugins each', async (t) => {
  const esmOnly = JSON.stringify({ name: 'esm-only', type: 'module', exports: { '.': { import: './lib/main.js' } } });
  const root = folder(t, {
    'near.mjs': module(plugin('scheduler', 'near')),
    'below/many.mjs': module(`[${plugin('scheduler', 'one')}, ${plugin('scheduler', 'two')}]`),
    'node_modules/plain/package.json': '{"name":"plain","main":"main.mjs"}',
    'node_modules/plain/main.mjs': module(plugin('scheduler', 'plain')),
    'node_modules/@acme/scoped/package.json': '{"name":"@acme/scoped","type":"module","exports":"./index.js"}',
    'node_modules/@acme/scoped/index.js': module(plugin('scheduler', 'scoped')),
    'node_modules/esm-only/package.json': esmOnly,
    'node_modules/esm-only/lib/main.js': module(plugin('scheduler', 'esm-only')),
    'url.mjs': module(plugin('scheduler', 'url')),
  });
  const modules = [
    './near.mjs',
    './below/many.mjs',
    'plain',
    '@acme/scoped',
    'esm-only',
    pathToFileURL(join(root, 'url.mjs')).href,
  ];
  const catalogue = await Catalogue.open([entryOf(fakePlugin('scheduler', 'spread', []))], modules, root);
  t.deepEqual(
    catalogue.items().map(({ name, origin, role }) => [name, origin.replace(/^file:.*\//, 'file:'), role]),
    [
      ['spread', 'built-in', 'server'],
      ['near', './near.mjs', 'server'],
      ['one', './below/many.mjs', 'server'],
      ['two', './below/many.mjs', 'server'],
      ['plain', 'plain', 'server'],
      ['scoped', '@acme/scoped', 'server'],
      ['esm-only', 'esm-only', 'server'],
      ['url', 'file:url.mjs', 'server'],
    ],
  );
});

test('a plugin of plugins.load runs', async (t) => {
  const root = folder(t, {
    'mine.mjs': module(plugin('scheduler', 'mine')),
    'pintle.yaml':
      'apiVersion: pintle.dev/v1\nkind: ClusterConfiguration\nplugins: { load: [./mine.mjs], use: { scheduler: mine } }\n',
  });
  const config = await loadConfig(join(root, 'pintle.yaml'), noDefaults);
  const kernel = await startKernel({ config, role: 'server', catalogue: [], stateDir: join(root, 'state') });
  t.is(
    kernel
      .get('scheduler')
      .get('mine')
      ?.score({} as never, {} as never, {} as never),
    7,
  );
  t.like(kernel.report(), [{ name: 'mine', origin: './mine.mjs', state: 'running' }]);
  await kernel.stop();
});

const refused: readonly (readonly [title: string, text: string, code: ErrorCode, says: RegExp])[] = [
  [
    'throws on import',
    'throw new Error("no licence");',
    'PLUGIN_LOAD_FAILED',
    /\.\/m\.mjs could not be imported: no licence/,
  ],
  ['is no JavaScript', 'export default {', 'PLUGIN_LOAD_FAILED', /could not be imported/],
  ['has no default export', 'export const plugin = 1;', 'PLUGIN_INVALID', /the default export is missing/],
  ['exports a string', module('"vxlan"'), 'PLUGIN_INVALID', /the default export is "vxlan"/],
  ['exports an empty list', module('[]'), 'PLUGIN_INVALID', /empty list/],
  [
    'is of an unknown kind',
    module(plugin('overlays', 'a')),
    'PLUGIN_INVALID',
    /kind is "overlays", expected one of store/,
  ],
  [
    'has a bad name',
    module(plugin('overlay', 'My Overlay')),
    'PLUGIN_INVALID',
    /name is "My Overlay", expected kebab-case/,
  ],
  ['takes the reserved name', module(plugin('overlay', 'defaults')), 'PLUGIN_INVALID', /name is "defaults"/],
  [
    'speaks another api',
    module(plugin('overlay', 'a').replace('api: 1', 'api: 2')),
    'PLUGIN_INVALID',
    /overlay\/a has api 2/,
  ],
  [
    'has no start',
    module(plugin('overlay', 'a').replace('start:', 'begin:')),
    'PLUGIN_INVALID',
    /overlay\/a has no function start/,
  ],
  [
    'has no schema',
    module(plugin('overlay', 'a').replace('config:', 'settings:')),
    'PLUGIN_INVALID',
    /config is missing, expected a Standard Schema/,
  ],
  [
    'needs what is no kind',
    module(plugin('overlay', 'a', "needs: ['database'],")),
    'PLUGIN_INVALID',
    /needs "database"/,
  ],
  [
    'has needs that are no list',
    module(plugin('overlay', 'a', "needs: 'store',")),
    'PLUGIN_INVALID',
    /needs is "store", expected an array/,
  ],
  ['has a bad role', module(plugin('overlay', 'a', "role: 'master',")), 'PLUGIN_INVALID', /role is "master"/],
  [
    'has a bad deadline',
    module(plugin('overlay', 'a', 'startDeadlineMs: -1,')),
    'PLUGIN_INVALID',
    /startDeadlineMs is -1/,
  ],
  [
    'has a preflight that is no function',
    module(plugin('overlay', 'a', 'preflight: {},')),
    'PLUGIN_INVALID',
    /preflight is an object/,
  ],
  [
    'has the name of a built-in',
    module(plugin('overlay', 'vxlan')),
    'PLUGIN_DUPLICATE',
    /overlay\/vxlan is claimed by built-in and by \.\/m\.mjs/,
  ],
  [
    'names one plugin twice',
    module(`[${plugin('overlay', 'a')}, ${plugin('overlay', 'a')}]`),
    'PLUGIN_DUPLICATE',
    /claimed by \.\/m\.mjs and by \.\/m\.mjs/,
  ],
];
for (const [title, text, code, says] of refused)
  test(`a module that ${title} is refused`, async (t) => {
    const root = folder(t, { 'm.mjs': text });
    const error = await failure(Catalogue.open([entryOf(fakePlugin('overlay', 'vxlan', []))], ['./m.mjs'], root));
    t.is(error.code, code);
    t.regex(error.message, says);
  });

test('a module that is not there is named', async (t) => {
  const root = folder(t, {});
  for (const name of ['./none.mjs', 'no-such-package', '@acme/none'])
    t.regex((await failure(Catalogue.open([], [name], root))).message, new RegExp(`^${name} could not be imported: `));
});

test('a built-in that is another than its entry says is refused', async (t) => {
  const entry = { ...entryOf(fakePlugin('overlay', 'vxlan', [])), name: 'geneve' };
  const item = new Catalogue([entry]).get('overlay', 'geneve');
  const error = await failure(item!.plugin());
  t.is(error.code, 'PLUGIN_INVALID');
  t.regex(error.message, /built-in overlay\/geneve .* is overlay\/vxlan/);
});

test('the code of a built-in is loaded once, and only when asked for', async (t) => {
  let loads = 0;
  const made = fakePlugin('store', 's', []);
  const load = async () => {
    loads += 1;
    return { default: made };
  };
  const catalogue = new Catalogue([{ ...entryOf(made), load }]);
  t.is(loads, 0);
  t.is(await catalogue.get('store', 's')!.plugin(), await catalogue.get('store', 's')!.plugin());
  t.is(loads, 1);
});

test('schemas that are functions are schemas (arktype)', (t) => {
  const schema = Object.assign(() => undefined, {
    '~standard': { version: 1, vendor: 'arktype', validate: () => ({ value: {} }) },
  });
  t.notThrows(() => checkPlugin({ ...fakePlugin('store', 's', []), config: schema }, 'here'));
});

for (const kind of kinds)
  test(`an instance of ${kind} needs each of its verbs`, (t) => {
    const whole = instanceOfKind(kind) as Record<PropertyKey, unknown>;
    t.is(instanceFault(kind, whole), undefined);
    for (const verb of Reflect.ownKeys(whole))
      t.regex(instanceFault(kind, { ...whole, [verb]: undefined }) ?? '', /without/);
  });
