/**
 * User-mode Linux: a kernel that is an ordinary process. Owns that process and one folder below the system's for temporary
 * files, both gone after the run. Its root is the host's, read-only; /tmp, /run and the like are in memory.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { findUmlFiles } from './kernel-files.ts';
import { shellWords } from './shell-words.ts';
import type { GuestCommand, GuestKernel, KernelProblem } from './target.ts';

const memoryMiB = 1024;

export function umlProblem(kernels: string): KernelProblem {
  if (process.arch !== 'x64') return { reason: `it is made for x64, not ${process.arch}`, fix: 'use --target host' };
  if (findUmlFiles(kernels) === undefined)
    return { reason: `no unpacked User-mode Linux in ${kernels}`, fix: 'sh scripts/fetch-kernels.sh' };
  const needed = ['/sbin/modprobe', '/usr/sbin/modprobe'];
  if (!needed.some((file) => existsSync(file)))
    return { reason: 'the command modprobe is missing', fix: 'apt-get install kmod' };
  return undefined;
}

/**
 * Process 1 of the guest. `/run/exchange` is a folder of the host that both sides write to. The terminal is told to leave
 * line ends alone.
 */
const init = (
  { argv, cwd, env }: GuestCommand,
  exchange: string,
  modules: string,
  release: string,
): string => `#!/bin/sh
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
for folder in /tmp /run /var/tmp; do mount -t tmpfs -o mode=1777 memory $folder; done
mkdir -p /run/exchange /run/modules/lib/modules/${release}
mount -t hostfs -o ${shellWords([exchange])} none /run/exchange
mount -t hostfs -o ${shellWords([join(modules, release)])} none /run/modules/lib/modules/${release}
printf '#!/bin/sh\\nexec modprobe -d /run/modules "$@"\\n' > /run/modules/modprobe
chmod +x /run/modules/modprobe
echo /run/modules/modprobe > /proc/sys/kernel/modprobe
ip link set lo up
stty -F /dev/ttyS0 raw -echo
stty -F /dev/ttyS1 raw -echo
# Where programs keep caches, the host's folder cannot be written.
cache=${shellWords([join(cwd, 'node_modules/.cache')])}
[ ! -d "$cache" ] || mount -t tmpfs memory "$cache"
cd ${shellWords([cwd])} &&
/usr/bin/env -i ${shellWords(Object.entries(env).map(([name, value]) => `${name}=${value}`))} ${shellWords(argv)} < /dev/null > /dev/ttyS0 2> /dev/ttyS1
echo "$?" > /run/exchange/exit-code
sync
echo o > /proc/sysrq-trigger
sleep 60
`;

function endGroup(leader: ChildProcess | undefined): void {
  try {
    if (leader?.pid !== undefined) process.kill(-leader.pid, 'SIGKILL');
  } catch {
    // the group is gone
  }
}

export function openUml(kernels: string): GuestKernel {
  const files = findUmlFiles(resolve(kernels));
  if (files === undefined) throw new Error(`no unpacked User-mode Linux in ${kernels}: sh scripts/fetch-kernels.sh`);
  return {
    description: `User-mode Linux ${files.release}`,
    async run(command) {
      command.signal?.throwIfAborted();
      const folder = mkdtempSync(join(tmpdir(), 'pintle-uml-'));
      let child: ChildProcess | undefined;
      // The kernel's user processes are processes of their own.
      const kill = (): void => endGroup(child);
      command.signal?.addEventListener('abort', kill);
      try {
        writeFileSync(join(folder, 'init'), init(command, folder, files.modules, files.release), { mode: 0o755 });
        const argv = [
          ...[files.program, `mem=${memoryMiB}M`, `umid=${folder.split('/').at(-1)}`, `uml_dir=${folder}`],
          ...['root=none', 'rootfstype=hostfs', 'rootflags=/', 'ro', `init=${join(folder, 'init')}`, 'quiet'],
          ...['con=null', 'con0=null,fd:3', 'ssl0=null,fd:1', 'ssl1=null,fd:2'],
        ];
        child = spawn('setpriv', ['--pdeathsig', 'KILL', ...argv], {
          stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
          detached: true,
        });
        let console = '';
        child.stdout?.on('data', (chunk: Buffer) => command.onOutput('stdout', chunk));
        child.stderr?.on('data', (chunk: Buffer) => command.onOutput('stderr', chunk));
        child.stdio[3]?.on('data', (chunk: Buffer) => (console = (console + chunk.toString()).slice(-10_000)));
        await new Promise<void>((done, fail) => child?.once('error', fail).once('close', () => done()));
        command.signal?.throwIfAborted();
        const exitCode = existsSync(join(folder, 'exit-code')) ? readFileSync(join(folder, 'exit-code'), 'utf8') : '';
        if (/^\d+\n$/.test(exitCode)) return Number(exitCode);
        throw new Error(`User-mode Linux ended without an exit code of the command; it said last:\n${console}`);
      } finally {
        kill();
        command.signal?.removeEventListener('abort', kill);
        rmSync(folder, { recursive: true, force: true });
      }
    },
  };
}
