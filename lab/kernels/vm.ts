/**
 * A virtual machine by QEMU with Debian's kernel. Owns one QEMU process and one folder below the system's for temporary
 * files, both gone after the run. Needs no root: QEMU reads the host's files as whoever started it.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server } from 'node:net';
import { availableParallelism, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { aliveText, initramfs } from './initramfs.ts';
import { findVmFiles, type VmFiles } from './kernel-files.ts';
import type { GuestCommand, GuestKernel, KernelProblem } from './target.ts';

type Accelerator = 'kvm' | 'tcg';

const qemu = 'qemu-system-x86_64';
const memoryMiB = 2048;
/** With KVM a guest is up in one or two seconds. One that is not by then runs on a host whose KVM cannot boot it. */
const kvmPatienceMs = 10_000;

const isInPath = (command: string): boolean =>
  (process.env['PATH'] ?? '').split(':').some((folder) => existsSync(join(folder, command)));

export function vmProblem(kernels: string): KernelProblem {
  if (process.arch !== 'x64') return { reason: `it is made for x64, not ${process.arch}`, fix: 'use --target host' };
  const missing = [qemu, 'setpriv'].filter((command) => !isInPath(command));
  if (missing.length > 0)
    return {
      reason: `the command ${missing.join(' and ')} is missing`,
      fix: 'apt-get install --no-install-recommends qemu-system-x86 util-linux',
    };
  if (findVmFiles(kernels) === undefined)
    return { reason: `no unpacked kernel in ${kernels}`, fix: 'sh scripts/fetch-kernels.sh' };
  return undefined;
}

/** Asks for KVM where it may be used; whether it boots is known after the first run, and remembered. */
function acceleratorsToTry(kernels: string): readonly Accelerator[] {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK);
  } catch {
    return ['tcg'];
  }
  return existsSync(kvmNote(kernels)) ? ['tcg'] : ['kvm', 'tcg'];
}

const kvmNote = (kernels: string): string => join(kernels, 'kvm-does-not-boot');

export function openVm(kernels: string): GuestKernel {
  const files = findVmFiles(resolve(kernels));
  if (files === undefined) throw new Error(`no unpacked kernel in ${kernels}: sh scripts/fetch-kernels.sh`);
  return {
    description: `Linux ${files.release} in QEMU`,
    async run(command) {
      for (const accelerator of acceleratorsToTry(kernels)) {
        const exitCode = await runMachine(files, accelerator, command);
        if (exitCode !== undefined) return exitCode;
        mkdirSync(kernels, { recursive: true });
        writeFileSync(kvmNote(kernels), 'Found by trying. Remove this file to have it tried again.\n');
      }
      throw new Error('no accelerator of QEMU booted the kernel');
    },
  };
}

const kvm = (): readonly string[] => [
  ...['-accel', 'kvm', '-cpu', 'host', '-smp', String(Math.min(4, availableParallelism()))],
];

/**
 * One processor: two take half as much again of the host's for the same work (each stops the other to change what it has
 * translated, and for every atomic exchange of 16 bytes). One without the wide vector units is quicker when it is emulated.
 */
const tcg: readonly string[] = ['-accel', 'tcg,thread=multi', '-cpu', 'Nehalem,cx16=off', '-smp', '1'];

function machineArguments(files: VmFiles, accelerator: Accelerator, folder: string): readonly string[] {
  const port = (name: string, index: number): readonly string[] => [
    ...['-chardev', `socket,id=${name},path=${join(folder, name)}`],
    ...['-device', `virtserialport,chardev=${name},nr=${index},name=${name}`],
  ];
  return [
    ...['-machine', 'q35', '-m', String(memoryMiB)],
    ...(accelerator === 'kvm' ? kvm() : tcg),
    ...['-kernel', files.image, '-initrd', join(folder, 'initramfs')],
    // Without the check: on a busy machine an emulated timer misses the moment in which the kernel looks, and it panics.
    ...['-append', 'console=ttyS0 quiet panic=-1 mitigations=off no_timer_check'],
    ...['-display', 'none', '-nodefaults', '-no-reboot', '-serial', `file:${join(folder, 'console')}`],
    // The first device: its ports are /dev/vport0p1 and on.
    ...['-device', 'virtio-serial', ...port('stdout', 1), ...port('stderr', 2), ...port('news', 3)],
    ...['-fsdev', 'local,id=host,path=/,security_model=none,readonly=on,multidevs=remap'],
    ...['-device', 'virtio-9p-pci,fsdev=host,mount_tag=host'],
  ];
}

/** Resolves to the exit code, or to undefined when a machine with KVM did not come up in time. */
async function runMachine(
  files: VmFiles,
  accelerator: Accelerator,
  command: GuestCommand,
): Promise<number | undefined> {
  command.signal?.throwIfAborted();
  const folder = mkdtempSync(join(tmpdir(), 'pintle-vm-'));
  const servers: Server[] = [];
  let child: ChildProcess | undefined;
  const kill = (): void => void child?.kill('SIGKILL');
  command.signal?.addEventListener('abort', kill);
  try {
    writeFileSync(join(folder, 'initramfs'), initramfs(files, command));
    let news = '';
    const listen = async (name: string, onData: (chunk: Buffer) => void): Promise<void> => {
      const server = createServer((socket) => socket.on('data', onData).on('error', () => undefined));
      servers.push(server);
      await new Promise<void>((done, fail) => server.once('error', fail).listen(join(folder, name), done));
    };
    await listen('stdout', (chunk) => command.onOutput('stdout', chunk));
    await listen('stderr', (chunk) => command.onOutput('stderr', chunk));
    await listen('news', (chunk) => (news += chunk.toString()));
    let errors = '';
    // The machine must not outlive us, however we end.
    child = spawn('setpriv', ['--pdeathsig', 'KILL', qemu, ...machineArguments(files, accelerator, folder)], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    child.stderr?.on('data', (chunk: Buffer) => (errors += chunk.toString()));
    const ended = new Promise<void>((done, fail) => {
      child?.once('error', fail);
      child?.once('close', () => done());
    });
    const patience = accelerator === 'kvm' ? setTimeout(() => news === '' && kill(), kvmPatienceMs) : undefined;
    await ended;
    clearTimeout(patience);
    // What arrived with the machine's end is read before the sockets close.
    await new Promise((done) => setTimeout(done, 50));
    command.signal?.throwIfAborted();
    const exitCode = new RegExp(`^${aliveText}\\n(\\d+)\\n$`).exec(news)?.[1];
    if (exitCode !== undefined) return Number(exitCode);
    if (accelerator === 'kvm' && news === '') return undefined;
    throw new Error(
      `the virtual machine ended without an exit code of the command; it said last:\n${errors}${endOf(join(folder, 'console'))}`,
    );
  } finally {
    kill();
    command.signal?.removeEventListener('abort', kill);
    for (const server of servers) server.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

function endOf(file: string): string {
  return existsSync(file) ? readFileSync(file, 'latin1').split('\n').slice(-30).join('\n') : '';
}
