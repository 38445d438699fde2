/** Who may import what, beyond what the project references enforce. Works on source text: it needs no compiler API. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

export interface SourceFile {
  /** From the root, with slashes: "plugins/stores/lmdb/index.ts". */
  readonly path: string;
  readonly text: string;
}

export interface ImportRule {
  readonly says: string;
  /** What is wrong with `file` importing `target` (a path from the root, or a package name), or undefined. */
  readonly breaks: (file: string, target: string) => boolean;
}

export interface TextRule {
  readonly says: string;
  readonly breaks: (file: string, text: string) => boolean;
}

const skipped = new Set(['node_modules', 'out', '.git', '.state', 'fixtures']);

export function sourcesBelow(root: string, folder = root): readonly SourceFile[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry): readonly SourceFile[] => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return skipped.has(entry.name) ? [] : sourcesBelow(root, path);
    if (!entry.name.endsWith('.ts')) return [];
    return [{ path: relative(root, path).replaceAll('\\', '/'), text: readFileSync(path, 'utf8') }];
  });
}

/** Specifiers of static and dynamic imports, re-exports, `import type`, `require` and import types. Comments are cut. */
export function specifiersOf(text: string): readonly string[] {
  const code = text.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/(^|\s)\/\/.*$/gm, '$1');
  const patterns = [
    /\b(?:import|export)\s(?:[^'"`;]*?\sfrom\s*)?['"]([^'"]+)['"]/g,
    /\b(?:import|require|require\.resolve)\s*\(\s*['"`]([^'"`$]+)['"`]/g,
  ];
  return patterns.flatMap((pattern) => [...code.matchAll(pattern)].map((match) => match[1]!));
}

/** A relative specifier as a path from the root; a package's as its name ("@scope/name", "node:fs"). */
export function targetOf(root: string, file: string, specifier: string): string {
  if (specifier.startsWith('.')) return relative(root, resolve(root, dirname(file), specifier)).replaceAll('\\', '/');
  if (specifier.startsWith('node:')) return specifier;
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}

/** The folder of the plugin that a file belongs to: "plugins/stores/lmdb". */
export const pluginOf = (path: string): string | undefined =>
  /^(?:plugins|netplugins)\/(?!linux\/)[^/]+\/[^/]+(?=\/)/.exec(path)?.[0];

const isIn = (path: string, ...folders: readonly string[]): boolean =>
  folders.some((folder) => path.startsWith(`${folder}/`));
const isTest = (path: string): boolean => isIn(path, 'test', 'bench');
const isPackage = (target: string): boolean => !/\.(ts|js|json)$/.test(target) && !target.startsWith('..');

const onlyIn = (name: string, ...folders: readonly string[]): ImportRule => ({
  says: `only ${folders.join(', ')} may import ${name}`,
  breaks: (file, target) => target === name && !isIn(file, ...folders) && !isTest(file),
});

export const importRules: readonly ImportRule[] = [
  {
    says: 'kernel/contract imports nothing',
    breaks: (file, target) =>
      isIn(file, 'kernel/contract') && !isIn(target, 'kernel/contract') && target !== 'node:stream',
  },
  {
    says: 'kernel/machinery imports the contract, Node and libraries only',
    breaks: (file, target) =>
      isIn(file, 'kernel/machinery') && !isPackage(target) && !isIn(target, 'kernel/contract', 'kernel/machinery'),
  },
  {
    says: 'kernel imports nothing from outside kernel',
    breaks: (file, target) =>
      isIn(file, 'kernel') && !isPackage(target) && !isIn(target, 'kernel') && target !== 'package.json',
  },
  {
    says: 'a plugin never imports another plugin',
    breaks: (file, target) => {
      const importer = pluginOf(file);
      const imported = pluginOf(target);
      return importer !== undefined && imported !== undefined && importer !== imported;
    },
  },
  {
    says: 'a plugin sees kernel/contract, kernel/machinery and netplugins/linux only',
    breaks: (file, target) =>
      pluginOf(file) !== undefined &&
      !isPackage(target) &&
      pluginOf(target) === undefined &&
      !isIn(target, 'kernel/contract', 'kernel/machinery', 'netplugins/linux'),
  },
  {
    says: 'netplugins/linux knows no plugin and no kernel beyond contract and machinery',
    breaks: (file, target) =>
      isIn(file, 'netplugins/linux') &&
      !isPackage(target) &&
      !isIn(target, 'netplugins/linux', 'kernel/contract', 'kernel/machinery'),
  },
  {
    says: 'product code imports nothing from test',
    breaks: (file, target) => !isTest(file) && isIn(target, 'test'),
  },
  {
    says: 'only commands of the command line import bench',
    breaks: (file, target) => !isTest(file) && !isIn(file, 'cli/commands') && isIn(target, 'bench'),
  },
  onlyIn('inversify', 'kernel/composition'),
  onlyIn('tsyringe', 'kernel/adapters'),
  onlyIn('dockerode', 'plugins/runtimes/docker'),
  onlyIn('@grpc/grpc-js', 'plugins/runtimes/cri'),
  onlyIn('@grpc/proto-loader', 'plugins/runtimes/cri'),
  onlyIn('netlink', 'netplugins/linux'),
  onlyIn('koffi', 'netplugins/linux'),
  onlyIn('raw-socket', 'netplugins/linux'),
  onlyIn('lmdb', 'plugins/stores/lmdb'),
  onlyIn('dns-packet', 'plugins/components/dns'),
  onlyIn('commander', 'cli'),
  onlyIn('pino', 'kernel/host'),
];

export const textRules: readonly TextRule[] = [
  {
    says: 'only cli, lab and scripts may end the process',
    // the kit's agent is a child process; a thread lost in a foreign network namespace must not go on
    breaks: (file, text) =>
      !isIn(file, 'cli', 'lab', 'scripts', 'kernel/conformance') &&
      !isTest(file) &&
      /\bprocess\.(exit|abort|reallyExit)\s*\(/.test(
        file === 'netplugins/linux/namespaces.ts' ? text.replace('process.abort()', '') : text,
      ),
  },
  {
    says: 'host commands are argv arrays, never shell strings',
    breaks: (file, text) =>
      !isTest(file) &&
      (/\bexecSync\s*\(/.test(text) ||
        /\bshell:\s*true/.test(text) ||
        /import\s*\{[^}]*\bexec\b[^}]*\}\s*from 'node:child_process'/.test(text)),
  },
  {
    says: 'kernel code asks capabilities, never a name of a plugin',
    breaks: (file, text) =>
      isIn(file, 'kernel/registry', 'kernel/config', 'kernel/composition') && /\.name\s*[!=]==?\s*'(?!')/.test(text),
  },
];

export interface Violation {
  readonly file: string;
  readonly says: string;
  readonly target: string | undefined;
}

export function violations(root: string, sources: readonly SourceFile[]): readonly Violation[] {
  return sources.flatMap(({ path, text }): readonly Violation[] => {
    const targets = specifiersOf(text).map((specifier) => targetOf(root, path, specifier));
    return [
      ...importRules.flatMap(({ says, breaks }) =>
        targets.filter((target) => breaks(path, target)).map((target) => ({ file: path, says, target })),
      ),
      ...textRules.flatMap(({ says, breaks }) => (breaks(path, text) ? [{ file: path, says, target: undefined }] : [])),
    ];
  });
}
