/**
 * The C library calls that Node lacks, through koffi: namespaces, mounts, netlink sockets, ioctl. The only file that
 * loads native code. Every call is synchronous; `errno` is read by the same thread right after the call.
 */
import { constants } from 'node:os';
import { createRequire } from 'node:module';
import type koffiType from 'koffi';
import { PintleError } from '../../kernel/contract/index.ts';
import { privilegedBy } from './privilege.ts';

type Call = (...args: readonly unknown[]) => number;

export interface Libc {
  setns(fd: number, kind: number): number;
  unshare(flags: number): number;
  mount(source: string, target: string, type: string | null, flags: number, data: string | null): number;
  umount2(target: string, flags: number): number;
  socket(domain: number, type: number, protocol: number): number;
  bind(fd: number, address: Buffer, length: number): number;
  connect(fd: number, address: Buffer, length: number): number;
  getsockname(fd: number, address: Buffer, length: Buffer): number;
  setsockopt(fd: number, level: number, option: number, value: Buffer, length: number): number;
  getsockopt(fd: number, level: number, option: number, value: Buffer, length: Buffer): number;
  send(fd: number, data: Buffer, length: number, flags: number): number;
  recv(fd: number, data: Buffer, length: number, flags: number): number;
  sendto(fd: number, data: Buffer, length: number, flags: number, address: Buffer, addressLength: number): number;
  read(fd: number, data: Buffer, length: number): number;
  write(fd: number, data: Buffer, length: number): number;
  splice(
    from: number,
    fromPosition: Buffer | null,
    to: number,
    toPosition: Buffer | null,
    length: number,
    flags: number,
  ): number;
  poll(fds: Buffer, count: number, timeoutMs: number): number;
  fcntl(fd: number, command: number, argument: number): number;
  /** An ioctl that takes a struct, which the kernel may fill in. */
  ioctl(fd: number, request: number, argument: Buffer): number;
  /** An ioctl that takes a number. */
  ioctlNumber(fd: number, request: number, argument: number): number;
  /** SIOCETHTOOL with a struct ethtool_value; the value after the call, or undefined when refused. */
  ethtool(fd: number, device: string, command: number, value: number): number | undefined;
  /** SO_ATTACH_FILTER with classic BPF: `program` is an array of struct sock_filter, 8 bytes each. */
  attachFilter(fd: number, program: Buffer): number;
  errno(): number;
}

const prototypes = {
  setns: 'int setns(int, int)',
  unshare: 'int unshare(int)',
  mount: 'int mount(const char *, const char *, const char *, unsigned long, const char *)',
  umount2: 'int umount2(const char *, int)',
  socket: 'int socket(int, int, int)',
  bind: 'int bind(int, void *, unsigned int)',
  connect: 'int connect(int, void *, unsigned int)',
  getsockname: 'int getsockname(int, void *, void *)',
  setsockopt: 'int setsockopt(int, int, int, void *, unsigned int)',
  getsockopt: 'int getsockopt(int, int, int, void *, void *)',
  send: 'int64_t send(int, void *, size_t, int)',
  recv: 'int64_t recv(int, void *, size_t, int)',
  sendto: 'int64_t sendto(int, void *, size_t, int, void *, unsigned int)',
  read: 'int64_t read(int, void *, size_t)',
  write: 'int64_t write(int, void *, size_t)',
  splice: 'int64_t splice(int, void *, int, void *, size_t, unsigned int)',
  poll: 'int poll(void *, unsigned long, int)',
  fcntl: 'int fcntl(int, int, long)',
  ioctl: 'int ioctl(int, unsigned long, void *)',
} as const;

const SIOCETHTOOL = 0x8946;
const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;

let loaded: Libc | undefined;

/** Loads koffi at the first use (5 ms, 3 MB), so that importing this file costs nothing. */
export function libc(): Libc {
  if (loaded !== undefined) return loaded;
  const koffi = createRequire(import.meta.url)('koffi') as typeof koffiType;
  // The process's own symbols: the C library it runs on, glibc or musl, whatever the file is called.
  const library = koffi.load(null);
  const calls = Object.fromEntries(
    Object.entries(prototypes).map(([name, prototype]) => [name, library.func(prototype) as unknown as Call]),
  );
  const ethtool = (fd: number, device: string, command: number, value: number): number | undefined => {
    const request = koffi.alloc('uint32_t', 2);
    try {
      koffi.encode(request, 'uint32_t', [command, value], 2);
      // struct ifreq: 16 bytes of name, then a pointer to the request.
      const ifreq = Buffer.alloc(40);
      ifreq.write(device, 0, 15, 'latin1');
      ifreq.writeBigUInt64LE(koffi.address(request), 16);
      if (calls['ioctl']?.(fd, SIOCETHTOOL, ifreq) !== 0) return undefined;
      return (koffi.decode(request, 'uint32_t', 2) as number[])[1];
    } finally {
      koffi.free(request);
    }
  };
  const ioctlNumber = library.func('int ioctl(int, unsigned long, unsigned long)') as unknown as Call;
  const attachFilter = (fd: number, program: Buffer): number => {
    const copy = koffi.alloc('uint8_t', program.length);
    try {
      koffi.encode(copy, 'uint8_t', [...program], program.length);
      // struct sock_fprog: how many, then a pointer to them.
      const filter = Buffer.alloc(16);
      filter.writeUInt16LE(program.length / 8, 0);
      filter.writeBigUInt64LE(koffi.address(copy), 8);
      return calls['setsockopt']!(fd, SOL_SOCKET, SO_ATTACH_FILTER, filter, filter.length);
    } finally {
      koffi.free(copy);
    }
  };
  loaded = { ...calls, ioctlNumber, ethtool, attachFilter, errno: () => koffi.errno() } as unknown as Libc;
  return loaded;
}

const errnoNames = new Map<number, string>(
  Object.entries(constants.errno).map(([name, value]) => [value, name] as const),
);
// Names that Node's table lacks or gives to the same number.
errnoNames.set(11, 'EAGAIN').set(95, 'EOPNOTSUPP').set(512, 'ERESTARTSYS').set(524, 'ENOTSUPP');
// ipset has numbers of its own.
errnoNames.set(4098, 'IPSET_NO_SUCH_TYPE').set(4099, 'IPSET_TOO_MANY_SETS').set(4100, 'IPSET_BUSY');
errnoNames.set(4102, 'IPSET_TYPE_MISMATCH').set(4103, 'IPSET_EXISTS').set(4352, 'IPSET_FULL');

export function errnoName(errno: number): string {
  return errnoNames.get(errno) ?? `errno ${errno}`;
}

/** The error for a refused request. `what` names the subject and the act; `advice` what to do. */
export function kernelRefused(
  what: string,
  errno: number,
  options: { readonly extack?: string | undefined; readonly advice?: string | undefined } = {},
): PintleError {
  const name = errnoName(errno);
  const reason = options.extack === undefined || options.extack === '' ? name : `${name}, ${options.extack}`;
  return new PintleError(
    'KERNEL_REFUSED',
    `${what}: the kernel refused it (${reason})${advise(name, options.advice)}`,
    {
      details: { errno: name, extack: options.extack ?? '' },
    },
  );
}

function advise(errno: string, advice: string | undefined): string {
  if (advice !== undefined) return `; ${advice}`;
  if (errno === 'EPERM' || errno === 'EACCES')
    return `; it needs CAP_NET_ADMIN in this network namespace: ${privilegedBy}`;
  if (errno === 'EOPNOTSUPP') return '; this kernel was built without it, or its module is not loaded';
  return '';
}

/** True when `error` is KERNEL_REFUSED with one of these errno names. */
export function isRefused(error: unknown, ...errnos: readonly string[]): boolean {
  return (
    error instanceof Error &&
    (error as PintleError).code === 'KERNEL_REFUSED' &&
    errnos.includes(String((error as PintleError).details.errno))
  );
}
