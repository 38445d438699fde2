/**
 * An archive in the format "newc", which the kernel unpacks as its first root (initramfs-tools' cpio is not on every host).
 *
 *   header   "070701" and 13 fields of 8 hexadecimal digits: inode, mode, uid, gid, links, mtime, size of the file,
 *            4 device numbers, size of the name with its NUL, checksum (0)
 *   name     padded so that what follows begins at a multiple of 4; then the data, padded likewise
 */
export interface ArchiveEntry {
  readonly path: string;
  /** A folder when undefined. */
  readonly data?: Uint8Array | undefined;
  readonly isExecutable?: boolean;
}

const regularFile = 0o100000;
const folder = 0o040000;

function record(index: number, mode: number, name: string, data: Uint8Array): Buffer[] {
  const fields = [index, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, Buffer.byteLength(name) + 1, 0];
  const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}${name}\0`;
  const padding = (length: number): Buffer => Buffer.alloc((4 - (length % 4)) % 4);
  const head = Buffer.from(header, 'latin1');
  return [head, padding(head.length), Buffer.from(data), padding(data.length)];
}

/** Folders must come before what is in them. */
export function cpioArchive(entries: readonly ArchiveEntry[]): Buffer {
  const parts = entries.flatMap(({ path, data, isExecutable = false }, index) => {
    const mode = data === undefined ? folder | 0o755 : regularFile | (isExecutable ? 0o755 : 0o644);
    return record(index + 1, mode, path, data ?? Buffer.alloc(0));
  });
  return Buffer.concat([...parts, ...record(0, 0, 'TRAILER!!!', Buffer.alloc(0))]);
}
