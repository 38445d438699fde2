/**
 * Runs one CNI executable: the call in its environment, the configuration on its standard input, a result or an error as JSON
 * on its standard output (cni.dev spec, section 2). Owns the processes that it starts, as groups, so that nothing of one that is
 * ended stays behind.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { PintleError } from '../../../kernel/contract/index.ts';
import { runInNetns } from '../../linux/namespaces.ts';

export type CniVerb = 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS' | 'VERSION';

export interface Call {
  readonly verb: CniVerb;
  /** Name of the executable. */
  readonly type: string;
  readonly input: unknown;
  readonly containerId?: string | undefined;
  /** Path of the pod's namespace; undefined when it is gone. */
  readonly netns?: string | undefined;
  readonly ifName?: string | undefined;
  readonly args?: string | undefined;
}

export interface ExecutableOptions {
  readonly binDirs: readonly string[];
  readonly timeLimitMs: number;
  /** The node's network namespace; undefined: the process's own. */
  readonly netns?: string | undefined;
  /** Where iptables' older back end locks when the system's lock cannot be written. */
  readonly lockFile: string;
  /** In the environment of all that is started: how a later agent knows what an earlier one left running. */
  readonly mark: string;
}

export const markVariable = 'PINTLE_CNI_STATE';
const systemLock = '/run/xtables.lock';
const outputLimit = 1 << 20;
const package_ = 'apt-get install containernetworking-plugins';

/** Codes of the specification that say more than "it failed". */
const tryAgainLater = 11;
const incompatibleVersion = 1;

export function findExecutable(type: string, binDirs: readonly string[]): string | undefined {
  return binDirs
    .map((folder) => join(folder, type))
    .find((path) => {
      try {
        accessSync(path, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

export function missingExecutables(
  types: readonly string[],
  binDirs: readonly string[],
): { readonly reason: string; readonly fix: string } | undefined {
  const missing = types.filter((type) => findExecutable(type, binDirs) === undefined);
  if (missing.length === 0) return undefined;
  return { reason: `CNI executables ${missing.join(', ')} are not in ${binDirs.join(' or ')}`, fix: package_ };
}

/** Resolves to what it printed, as JSON (undefined: nothing). */
export async function runExecutable(call: Call, options: ExecutableOptions): Promise<unknown> {
  const path = findExecutable(call.type, options.binDirs);
  if (path === undefined) {
    const missing = missingExecutables([call.type], options.binDirs);
    throw failed(call, call.type, -1, `${missing?.reason ?? ''}; ${package_}`, '');
  }
  const { exitCode, stdout, stderr, isLate } = await run(path, call, options);
  if (isLate)
    throw failed(call, path, -1, `it did not end within ${options.timeLimitMs / 1000} s and was killed`, stderr);
  if (exitCode !== 0) throw refused(call, path, exitCode, stdout, stderr);
  if (stdout.trim() === '') return undefined;
  try {
    return JSON.parse(stdout) as unknown;
  } catch {
    throw failed(call, path, exitCode, `expected JSON on its standard output, got "${stdout.slice(0, 200)}"`, stderr);
  }
}

interface Outcome {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly isLate: boolean;
}

function environment(call: Call, { binDirs, lockFile, mark }: ExecutableOptions): NodeJS.ProcessEnv {
  const path = (process.env['PATH'] ?? '').split(':').filter((folder) => !folder.endsWith('node_modules/.bin'));
  return {
    LC_ALL: 'C',
    PATH: [...new Set(['/usr/local/sbin', '/usr/sbin', '/sbin', ...path])].join(':'),
    ...(isWritable(systemLock) ? {} : { XTABLES_LOCKFILE: process.env['XTABLES_LOCKFILE'] ?? lockFile }),
    [markVariable]: mark,
    CNI_COMMAND: call.verb,
    CNI_CONTAINERID: call.containerId ?? '',
    CNI_NETNS: call.netns ?? '',
    CNI_IFNAME: call.ifName ?? '',
    CNI_ARGS: call.args ?? '',
    CNI_PATH: binDirs.join(':'),
  };
}

function isWritable(file: string): boolean {
  try {
    accessSync(file, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function run(path: string, call: Call, options: ExecutableOptions): Promise<Outcome> {
  const env = environment(call, options);
  const start = (): ChildProcess => spawn(path, [], { env, cwd: '/', stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  return new Promise((resolve, reject) => {
    // The child is forked from this thread, so it starts in the namespace that the thread is in.
    const child = options.netns === undefined ? start() : runInNetns(options.netns, start);
    let isLate = false;
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    let size = 0;
    const keep = (chunks: Buffer[]) => (chunk: Buffer) => {
      size += chunk.length;
      if (size <= outputLimit) chunks.push(chunk);
    };
    child.stdout?.on('data', keep(out));
    child.stderr?.on('data', keep(err));
    // One that stops early closes its input; its exit code and message say why.
    child.stdin?.on('error', () => undefined);
    const endGroup = (): void => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // It is gone.
      }
    };
    const limit = setTimeout(() => {
      isLate = true;
      endGroup();
      // Something that left the group may hold the pipes open.
      child.stdout?.destroy();
      child.stderr?.destroy();
    }, options.timeLimitMs);
    child.on('error', (cause) => {
      clearTimeout(limit);
      reject(failed(call, path, -1, `it could not be started: ${cause.message}`, '', cause));
    });
    child.on('close', (code) => {
      clearTimeout(limit);
      const text = (chunks: readonly Buffer[]): string => Buffer.concat(chunks).toString('utf8');
      resolve({ exitCode: code ?? 128, stdout: text(out), stderr: text(err), isLate });
    });
    child.stdin?.end(JSON.stringify(call.input));
  });
}

/** The executable's own error, in our words. */
function refused(call: Call, path: string, exitCode: number, stdout: string, stderr: string): PintleError {
  const { code, msg, details } = errorOf(stdout);
  const said = [msg, details].filter((part) => part !== undefined && part !== '').join(': ');
  // The Go runtime's word for a crash, above a long trace.
  const panic = /^(?:panic|fatal error): .*/m.exec(stderr)?.[0];
  const what = said === '' ? `exit code ${exitCode}: ${panic ?? stderr.trim().slice(-500)}` : said;
  const text = `CNI plugin ${call.type} ${call.verb}: ${what}${code === undefined ? '' : ` (CNI error ${code})`}`;
  const more = {
    details: { argv: [path], exitCode, stderr: stderr.slice(-2000), cniCode: code, crashed: panic !== undefined },
  };
  if (/no IP addresses available/i.test(said))
    return new PintleError(
      'ADDRESSES_EXHAUSTED',
      `${text}; expected a free address. Delete pods of this node, or give the nodes larger pod ranges`,
      more,
    );
  if (code === tryAgainLater) return new PintleError('UNAVAILABLE', `${text}; it asks to be called again later`, more);
  if (code === incompatibleVersion)
    return new PintleError('UNSUPPORTED', `${text}; give the list a cniVersion that all its plugins have`, more);
  return new PintleError('HOST_COMMAND_FAILED', text, more);
}

interface CniError {
  readonly code?: number | undefined;
  readonly msg?: string | undefined;
  readonly details?: string | undefined;
}

function errorOf(stdout: string): CniError {
  try {
    const { code, msg, details } = JSON.parse(stdout) as Record<string, unknown>;
    const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
    return { code: typeof code === 'number' ? code : undefined, msg: text(msg), details: text(details) };
  } catch {
    return { msg: stdout.trim().slice(0, 500) };
  }
}

function failed(
  { verb, type }: Call,
  path: string,
  exitCode: number,
  what: string,
  stderr: string,
  cause?: unknown,
): PintleError {
  return new PintleError('HOST_COMMAND_FAILED', `CNI plugin ${type} ${verb}: ${what}`, {
    details: { argv: [path], exitCode, stderr: stderr.slice(-2000) },
    cause,
  });
}
