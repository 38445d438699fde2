import type { Kind, Kinds, Role } from '../contract/index.ts';

export interface KindFacts {
  /** A process runs as many as are configured; of the other kinds exactly one. */
  readonly many: boolean;
  /** Where plugins of this kind run that do not say. */
  readonly role: Role;
  /** The methods that an instance must have. */
  readonly verbs: readonly string[];
  /** The method that removes what outlives the process; undefined: nothing does. */
  readonly leave?: string;
}

type Verbs<K extends Kind> = readonly (keyof Kinds[K] & string)[];
const facts = <K extends Kind>(many: boolean, role: Role, verbs: Verbs<K>, leave?: Verbs<K>[number]): KindFacts => ({
  many,
  role,
  verbs,
  ...(leave === undefined ? {} : { leave }),
});

/** What the kernel knows of each kind beside its types. In the order in which listings show them. */
export const kindFacts: { readonly [K in Kind]: KindFacts } = {
  store: facts<'store'>(false, 'server', ['get', 'list', 'commit', 'watch', 'compact', 'status']),
  cluster: facts<'cluster'>(false, 'any', [
    ...(['get', 'list', 'watch', 'create', 'update', 'patch', 'delete', 'deleteCollection', 'serveNode'] as const),
  ]),
  scheduler: facts<'scheduler'>(true, 'server', ['filter', 'score']),
  controller: facts<'controller'>(true, 'server', ['run']),
  runtime: facts<'runtime'>(
    false,
    'node',
    [
      ...(['status', 'ensureSandbox', 'stopSandbox', 'removeSandbox', 'listSandboxes', 'startContainer'] as const),
      ...(['stopContainer', 'removeContainer', 'listContainers', 'events', 'exec', 'attach', 'stats'] as const),
      ...(['imageStatus', 'pullImage', 'listImages', 'removeImage', 'purge'] as const),
    ],
    'purge',
  ),
  attachment: facts<'attachment'>(
    false,
    'node',
    [...(['configure', 'add', 'remove', 'check', 'list', 'gc', 'status', 'purge'] as const)],
    'purge',
  ),
  overlay: facts<'overlay'>(false, 'node', ['join', 'sync', 'status', 'leave'], 'leave'),
  proxy: facts<'proxy'>(false, 'node', ['sync', 'status', 'purge'], 'purge'),
  volume: facts<'volume'>(true, 'node', ['serves', 'publish', 'unpublish']),
  component: facts<'component'>(true, 'any', ['status']),
};

export const kinds = Object.keys(kindFacts) as readonly Kind[];

export const isKind = (value: unknown): value is Kind => typeof value === 'string' && Object.hasOwn(kindFacts, value);

/** True when a plugin with role `role` runs in a process with role `process`. */
export const runsIn = (role: Role, process: Role): boolean => role === 'any' || process === 'any' || role === process;
