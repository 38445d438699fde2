/** Every config file and every `pintle` command of every document is checked, so that documents cannot rot. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import type { Command } from 'commander';
import { checkConfig, processRoles } from '../../cli/check-roles.ts';
import { defaults } from '../../cli/default-config.ts';
import { buildProgram } from '../../cli/program.ts';
import { Cli, Terminal } from '../../cli/terminal.ts';
import { startKernel } from '../../kernel/composition/start-kernel.ts';
import { loadConfig, parseConfig } from '../../kernel/config/load-config.ts';
import { builtInResources } from '../../kernel/machinery/resources.ts';
import { storedOnly } from '../../plugins/clusters/local/strategies/stored-only.ts';
import { noDefaults } from '../unit/kernel/fake-plugins.ts';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const skipped = new Set(['node_modules', 'out', '.git', '.state']);

function markdownBelow(folder: string): readonly string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return skipped.has(entry.name) ? [] : markdownBelow(path);
    return entry.name.endsWith('.md') ? [path] : [];
  });
}

const documents = markdownBelow(root).map((path) => ({ path: relative(root, path), text: readFileSync(path, 'utf8') }));

const blocks = (text: string, language: string): readonly string[] =>
  [...text.matchAll(new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\``, 'gm'))].map((match) => match[1]!);

test('the documents are found', (t) => {
  const paths = documents.map(({ path }) => path);
  for (const path of ['README.md', 'docs/plugins.md', 'docs/cli.md']) t.true(paths.includes(path), path);
});

for (const { path, text } of documents)
  for (const [index, yaml] of blocks(text, 'yaml').entries())
    if (yaml.includes('kind: ClusterConfiguration'))
      test(`config ${index + 1} of ${path} is right`, async (t) => {
        const config = await parseConfig(yaml, join(root, path), defaults);
        // modules of plugins.load are made up in documents; the tests of the packages themselves load them
        if (config.plugins.load.length === 0) for (const role of processRoles) await checkConfig(config, role);
        t.pass();
      });

/** Lines of code blocks and code spans that begin with `pintle ` or its path in a checkout. */
function commandLines(text: string): readonly string[] {
  const fenced = [...text.matchAll(/^```(?:sh|bash|console)?\n([\s\S]*?)^```/gm)].flatMap((match) =>
    match[1]!.split('\n'),
  );
  const indented = text.split('\n').flatMap((line) => (/^ {4}\S/.test(line) ? [line] : []));
  const spans = [...text.matchAll(/`([^`\n]+)`/g)].map((match) => match[1]!);
  return [...fenced, ...indented, ...spans].flatMap((line) => {
    const command = /(?:^|[(])\s*(?:\$ )?(?:npx )?(?:pintle|node out\/cli\/main\.js) ([^#)&|>]*)/
      .exec(line)?.[1]
      ?.trim();
    return command === undefined || command === '' ? [] : [command];
  });
}

/** Placeholders of documents as values that pass the checks of their flags. */
function argumentsOf(command: string): readonly string[] {
  const places: Readonly<Record<string, string>> = {
    N: '3',
    FILE: 'pintle.yaml',
    FOLDER: '/tmp',
    'KIND/NAME': 'store/memory',
    'ADDRESS:PORT': '127.0.0.1:6443',
    URL: 'unix:/run/pintle/api.sock',
    NAME: 'node-1',
    JOB: 'shop',
    FROM: 'pod/web',
    TO: 'svc/web',
  };
  return command.split(/\s+/).map((word) => places[word] ?? word);
}

async function parses(argv: readonly string[]): Promise<string | undefined> {
  let error = '';
  const sink = { write: () => true } as unknown as NodeJS.WritableStream;
  const program = buildProgram(new Cli(new Terminal(sink, sink, {}), {}));
  const disarm = (command: Command): void => {
    command.configureOutput({ writeOut: () => undefined, writeErr: (text) => void (error += text) });
    if (command.commands.length === 0 || command.registeredArguments.length > 0) command.action(() => undefined);
    for (const child of command.commands) disarm(child);
  };
  disarm(program);
  try {
    await program.parseAsync(argv, { from: 'user' });
    return undefined;
  } catch (thrown) {
    const { exitCode } = thrown as { readonly exitCode?: number };
    return exitCode === 0 ? undefined : error || String(thrown);
  }
}

const commands = documents.flatMap(({ path, text }) => commandLines(text).map((command) => ({ path, command })));

for (const key of new Set(commands.map(({ path, command }) => `${path}: pintle ${command}`)))
  test(`command of ${key}`, async (t) => {
    const command = key.slice(key.indexOf(': pintle ') + ': pintle '.length);
    const argv = argumentsOf(command);
    // "pintle config check" in running text names the command, not a call with its arguments
    const problem = await parses(argv);
    t.true(problem === undefined || /missing required argument|Usage: pintle/.test(problem), problem);
  });

test('a command that does not exist, or has another flag, is found', async (t) => {
  t.deepEqual(commandLines('`pintle frobnicate`\n\n    pintle up --bogus  # text\n'), ['up --bogus', 'frobnicate']);
  t.regex((await parses(['frobnicate'])) ?? '', /unknown command/);
  t.regex((await parses(['server', '--bogus'])) ?? '', /unknown option/);
  t.is(await parses(argumentsOf('server --state-dir FOLDER')), undefined);
});

for (const { path, text } of documents)
  test(`links of ${path} lead somewhere`, (t) => {
    const links = [...text.matchAll(/\]\((?!https?:|#|mailto:)([^)#]+)(?:#[^)]*)?\)/g)].map((match) => match[1]!);
    const broken = links.filter((link) => !existsSync(join(root, dirname(path), link)));
    t.deepEqual(broken, []);
  });

test('the plugin of the guide for authors runs as it is printed', async (t) => {
  const guide = readFileSync(join(root, 'docs/plugins.md'), 'utf8');
  const source = blocks(guide, 'ts').find((block) => block.includes("name: 'alphabet'"));
  const yaml = blocks(guide, 'yaml').find((block) => block.includes('name: alphabet'));
  t.truthy(source);
  t.truthy(yaml);
  const app = mkdtempSync(join(tmpdir(), 'pintle-guide-'));
  t.teardown(() => rmSync(app, { recursive: true, force: true }));
  const name = /load: \["?'?([^"'\]]+)/.exec(yaml!)?.[1] ?? '';
  const home = join(app, 'node_modules', name);
  mkdirSync(home, { recursive: true });
  symlinkSync(root, join(app, 'node_modules/pintle'));
  symlinkSync(join(root, 'node_modules/zod'), join(app, 'node_modules/zod'));
  writeFileSync(join(home, 'package.json'), JSON.stringify({ name, type: 'module', exports: './index.js' }));
  // the printed source has no types to strip
  writeFileSync(join(home, 'index.js'), source!);
  writeFileSync(join(app, 'pintle.yaml'), yaml!);
  const config = await loadConfig(join(app, 'pintle.yaml'), noDefaults);
  const kernel = await startKernel({ config, role: 'server', catalogue: [], stateDir: join(app, 'state') });
  const policy = kernel.get('scheduler').get('alphabet');
  const scores = ['a', 'z'].map((letter) => policy?.score({} as never, { name: letter } as never, {} as never));
  t.deepEqual(scores, [0, 100]);
  await kernel.stop();
});

test('tests that documents name are there, with the titles that they quote', (t) => {
  const named = documents.flatMap(({ path, text }) =>
    [...text.matchAll(/`(test\/[\w/-]+\.test\.ts)`((?:(?!`test\/)[^|\n])*)/g)].map(([, file, rest]) => ({
      path,
      file: file!,
      titles: [...rest!.matchAll(/"([^"]{12,})"/g)].map((match) => match[1]!),
    })),
  );
  t.true(named.length > 20);
  for (const { path, file, titles } of named) {
    const source = join(root, file);
    t.true(existsSync(source), `${path} names ${file}`);
    const text = existsSync(source) ? readFileSync(source, 'utf8') : '';
    for (const title of titles) t.true(text.includes(title), `${path}: ${file} has a test "${title}"`);
  }
});

/** Cells of the rows of the table below a heading. */
function tableBelow(text: string, heading: string): readonly (readonly string[])[] {
  const [, below = ''] = text.split(`\n${heading}\n`);
  const [section = ''] = below.split('\n## ');
  return section
    .split('\n')
    .filter((line) => line.startsWith('| ') && !line.startsWith('| ---'))
    .slice(1)
    .map((line) =>
      line
        .slice(2, -1)
        .split(' | ')
        .map((cell) => cell.trim()),
    );
}

const kubernetes = readFileSync(join(root, 'docs/kubernetes.md'), 'utf8');

test('the table of kinds has every kind that is served, in its versions, and a test for each that works', (t) => {
  const rows = tableBelow(kubernetes, '## Kinds');
  const told = new Map<string, Set<string>>();
  for (const [kinds, groups, acts, tests] of rows) {
    for (const kind of kinds!.split(', ')) {
      t.false(told.has(kind), `${kind} is told once`);
      told.set(kind, new Set([...groups!.matchAll(/`([^`]+)`/g)].map((match) => match[1]!)));
    }
    if (!acts!.startsWith('stored only'))
      t.regex(tests ?? '', /`test\/[^`]+\.test\.ts`/, `${kinds} works: how is it tested?`);
  }
  const inert = rows.flatMap(([kinds, , acts]) => (acts!.startsWith('stored only') ? kinds!.split(', ') : []));
  for (const path of storedOnly.keys()) {
    const found = builtInResources.find(({ group, resource }) => `${group}/${resource}` === path);
    t.true(found !== undefined && inert.includes(found.kind), `${path}: a client is warned that it is stored only`);
  }
  const served = new Map<string, Set<string>>();
  for (const { group, version, kind } of builtInResources)
    served.set(kind, (served.get(kind) ?? new Set()).add(group === '' ? version : `${group}/${version}`));
  t.deepEqual([...told.keys()].sort(), [...served.keys()].sort());
  for (const [kind, versions] of served) t.deepEqual([...told.get(kind)!].sort(), [...versions].sort(), kind);
});

/** Those of kubectl 1.33 that ask a server, but for `alpha`, `kustomize` and `plugin`, which do not. */
const kubectlCommands = [
  ...[
    'annotate',
    'api-resources',
    'api-versions',
    'apply',
    'attach',
    'auth',
    'autoscale',
    'certificate',
    'cluster-info',
  ],
  ...[
    'cordon',
    'cp',
    'create',
    'debug',
    'delete',
    'describe',
    'diff',
    'drain',
    'edit',
    'events',
    'exec',
    'explain',
    'expose',
  ],
  ...[
    'get',
    'label',
    'logs',
    'patch',
    'port-forward',
    'proxy',
    'replace',
    'rollout',
    'run',
    'scale',
    'set',
    'taint',
    'top',
  ],
  ...['uncordon', 'version', 'wait'],
];

test('the table of kubectl has every command that asks a server', (t) => {
  const told = tableBelow(kubernetes, '## kubectl')
    .map(([commands]) => commands!)
    .join(' ');
  const words = new Set([...told.matchAll(/`([a-z-]+)/g)].map((match) => match[1]!));
  t.deepEqual(
    kubectlCommands.filter((command) => !words.has(command)),
    [],
  );
});
