/** From a container's spec and image: the command, its environment, its user, and the whole argument list that runs it. */
import { PintleError, type ContainerSpec } from '../../../kernel/contract/index.ts';
import { boundingSet, formatBoundingSet } from './capability-sets.ts';
import type { IdMap } from './host-facts.ts';
import type { ImageConfig } from './images/image-config.ts';
import { terminalWords } from './terminal.ts';
import { tool } from './tools.ts';

export interface ContainerCommand {
  /** What the user asked for. */
  readonly words: readonly string[];
  readonly environment: readonly string[];
  readonly path: string;
  readonly workingDir: string;
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
}

const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export function containerCommand(
  spec: ContainerSpec,
  image: ImageConfig,
  hostname: string,
  ids: { readonly uids: IdMap; readonly gids: IdMap },
): ContainerCommand {
  const entry = spec.command.length > 0 ? spec.command : image.entrypoint;
  const rest = spec.args.length > 0 ? spec.args : spec.command.length > 0 ? [] : image.command;
  const words = [...entry, ...rest];
  if (words.length === 0)
    throw new PintleError(
      'CONTAINER_INVALID',
      `container ${spec.name}: no command: neither the spec nor image ${spec.image} has one; set command in the spec`,
    );
  const uid = spec.user ?? image.uid;
  const gid = spec.group ?? (spec.user === undefined ? image.gid : 0);
  const groups = [...new Set(spec.supplementalGroups ?? [])];
  if (typeof spec.seccomp === 'object')
    throw new PintleError(
      'CONTAINER_INVALID',
      `container ${spec.name}: seccomp profile ${spec.seccomp.file} cannot be loaded by runtime process; use runtime docker or cri, or no profile`,
    );
  checkMapped(spec.name, 'user', uid, ids.uids);
  for (const group of [gid, ...groups]) checkMapped(spec.name, 'group', group, ids.gids);

  const variables = new Map<string, string>([
    ['PATH', defaultPath],
    ['HOSTNAME', hostname],
  ]);
  if (spec.tty) variables.set('TERM', 'xterm');
  for (const text of image.environment) {
    const at = text.indexOf('=');
    variables.set(at < 0 ? text : text.slice(0, at), at < 0 ? '' : text.slice(at + 1));
  }
  variables.set('HOME', variables.get('HOME') ?? (uid === image.uid ? image.home : '/'));
  for (const { name, value } of spec.env) {
    if (name === '' || /[=\0]/.test(name) || value.includes('\0'))
      throw new PintleError(
        'CONTAINER_INVALID',
        `container ${spec.name}: ${JSON.stringify(name)} is no name of an environment variable`,
      );
    variables.set(name, value);
  }
  if (words.some((word) => word.includes('\0')))
    throw new PintleError(
      'CONTAINER_INVALID',
      `container ${spec.name}: its command holds a NUL character, which no argument can`,
    );
  return {
    words,
    uid,
    gid,
    groups,
    environment: [...variables].map(([name, value]) => `${name}=${value}`),
    path: variables.get('PATH') ?? defaultPath,
    workingDir: spec.workingDir ?? image.workingDir,
  };
}

function checkMapped(container: string, what: 'user' | 'group', id: number, map: IdMap): void {
  if (map.has(id)) return;
  throw new PintleError(
    'CONTAINER_INVALID',
    `container ${container}: ${what} ${id} is not available: this node runs in a user namespace that does not map it; run the node as root, or use ${what} 0`,
  );
}

/** How to run words in a container: what drops the rights and starts them, and what a terminal's shell then runs. */
export interface Invocation {
  readonly argv: readonly string[];
  /** With a terminal: what runs on it. */
  readonly onTerminal: readonly string[];
}

/**
 * Drops capabilities, becomes the user, sets the environment, runs the command. setpriv runs before the container's
 * environment is set: a variable such as LD_PRELOAD must not reach a program with more rights than the container.
 */
export function invocation(
  spec: ContainerSpec,
  command: ContainerCommand,
  words: readonly string[],
  options: { readonly tty: boolean; readonly mapsWholeIds: boolean; readonly enterWorkingDir: boolean },
): Invocation {
  const set = boundingSet(spec);
  const groups =
    command.groups.length > 0
      ? [`--groups=${command.groups.join(',')}`]
      : options.mapsWholeIds
        ? ['--clear-groups']
        : ['--keep-groups'];
  const identity =
    command.uid === 0 && command.gid === 0 && !options.mapsWholeIds
      ? []
      : [`--reuid=${command.uid}`, `--regid=${command.gid}`, ...groups];
  const privileges = [
    ...tool('setpriv'),
    ...identity,
    '--inh-caps=-all',
    ...(set === undefined ? [] : [`--bounding-set=${formatBoundingSet(set)}`]),
    ...(spec.noNewPrivileges ? ['--no-new-privs'] : []),
    '--',
  ];
  // env takes every word with "=" for a variable, even the command: such a command goes through a shell's exec.
  const plain = words[0]?.includes('=') === true ? [...tool('dash'), '-c', 'exec "$@"', 'pintle', ...words] : words;
  const chdir = options.enterWorkingDir ? [`--chdir=${command.workingDir}`] : [];
  const run = [...tool('env'), '-i', '--default-signal=INT,QUIT', ...chdir, '--', ...command.environment, ...plain];
  if (!options.tty) return { argv: [...privileges, ...run], onTerminal: [] };
  return { argv: [...privileges, ...terminalWords], onTerminal: run };
}

/** The variables in which the scripts find an invocation: names that no container chooses. */
export function invocationVariables({ argv, onTerminal }: Invocation): Record<string, string> {
  const variables: Record<string, string> = {
    PINTLE_ARGC: String(argv.length),
    PINTLE_TTYC: String(onTerminal.length),
  };
  for (const [index, word] of argv.entries()) variables[`PINTLE_ARG_${index}`] = word;
  for (const [index, word] of onTerminal.entries()) variables[`PINTLE_TTY_${index}`] = word;
  return variables;
}
